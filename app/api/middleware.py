"""What surrounds every request: its id, log line and metrics, the hosts it may name, the limit of its body."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import error_of, note, of_error, of_unexpected, problem, shaped
from app.errors import AnchorageError, ErrorCode
from app.ingest.accept import too_large
from app.telemetry import context
from app.telemetry.metrics import SECONDS, Metrics
from app.telemetry.redaction import begin_private
from app.telemetry.traces import Kind, Origin, Span, Tracer

log = structlog.get_logger(__name__)
_PORT = re.compile(r":\d*$")
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# As nginx counts a client that left before its answer.
CLIENT_LEFT = 499
# What asks every few seconds whether the service is well fills no log with good news.
QUIET = ("/health", "/ready", "/metrics")


class Observe:
    """Outermost. Takes a valid ``X-Request-ID`` or makes one, and answers with it; begins the request's trace."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        offered = headers.get(b"x-request-id", b"")
        # In the form of a trace's id, which it then also is.
        request_id = offered.decode() if _VALID_ID.fullmatch(offered) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        begin_private()
        context.begin(request_id=request_id)
        root = self._begin(scope, headers, request_id)
        start = perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            log.exception("request.failed", path=scope["path"])
            note(scope, ErrorCode.INTERNAL_ERROR)
            if root is not None:
                root.failed(error)
            if status == 0:
                await shaped(scope["path"], of_unexpected(request_id))(scope, receive, send_with_id)
            else:
                raise
        finally:
            # Nothing was answered: the request was cancelled, as the server does when it must end.
            self._record(scope, status or CLIENT_LEFT, perf_counter() - start, root)

    def _begin(self, scope: Scope, headers: dict[bytes, bytes], request_id: str) -> Span | None:
        if self._tracer is None or scope["path"].endswith(QUIET):
            return None
        origin = Origin.read(headers.get(b"traceparent", b"").decode("latin-1"), request_id)
        context.add(trace_id=origin.trace_id)
        return self._tracer.begin(str(scope["method"]), origin, Kind.SERVER).__enter__()

    def _record(self, scope: Scope, status: int, seconds: float, root: Span | None) -> None:
        # A client may send any word as a method; each would be a time series for good.
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = _template(scope)
        code = error_of(scope)
        if root is not None:
            _end(root, method, route, status, code, scope["state"]["request_id"])
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(method, route).observe(seconds)
        if code is not None:
            self._metrics.errors.labels(code).inc()
        if root is not None and root.trace.kept:
            labels, trace_id = (method, route), root.trace.trace_id
            self._metrics.exemplars.remember("http_request_duration_seconds", labels, SECONDS, seconds, trace_id)
        level = "debug" if route.endswith(QUIET) and status < 400 else "info"
        of_error = {} if code is None else {"code": code}
        getattr(log, level)(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 2),
            **of_error,
        )


def _end(root: Span, method: str, route: str, status: int, code: ErrorCode | None, request_id: str) -> None:
    root.name = f"{method} {route}"
    root.set(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "anchorage.request_id": request_id,
            "error.type": code,
        }
    )
    if status >= 500:
        root.failed(f"HTTP {status}")
    root.__exit__(None, None, None)


def _template(scope: Scope) -> str:
    """The route's path with its parameters' names for their values: one label for all documents.

    A router that was included knows its path without the prefix, which is what stands before it in the address.
    """
    route = scope.get("route")
    if route is None:
        return "unmatched"
    own: str = route.path
    return "/".join(scope["path"].split("/")[: -own.count("/")]) + own


class AllowHosts:
    """Refuses a request for a host that is not ours; ``*`` allows all, ``*.example.com`` all below."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._all = "*" in hosts
        self._exact = frozenset(host.lower() for host in hosts)
        self._below = tuple(host[1:].lower() for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        detail = "This service does not answer for the host in the request. ALLOWED_HOSTS names those it does."
        note(scope, ErrorCode.VALIDATION_FAILED)
        response = problem(scope["state"]["request_id"], ErrorCode.VALIDATION_FAILED, detail, status=400)
        await shaped(scope["path"], response)(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        if self._all:
            return True
        host = _PORT.sub("", dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower())
        return host in self._exact or host.endswith(self._below)


class LimitBody:
    """Refuses a body over the limit as soon as it is known to be: declared, or while it arrives."""

    def __init__(self, app: ASGIApp, max_bytes: int, uploads: str, max_upload_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._uploads = uploads
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["path"].startswith(self._uploads)
        # Room for the multipart frame around a document of exactly the allowed size.
        limit = self._max_upload_bytes + 65536 if upload else self._max_bytes
        error = too_large(self._max_upload_bytes) if upload else _body_too_large(self._max_bytes)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            note(scope, error.code)
            await shaped(scope["path"], of_error(scope["state"]["request_id"], error))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise error
            return message

        await self._app(scope, counted, send)


def _body_too_large(limit: int) -> AnchorageError:
    error = too_large(limit)
    error.detail = f"The request's body is larger than {limit >> 10} KiB."
    return error
