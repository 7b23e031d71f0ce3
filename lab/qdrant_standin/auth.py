"""API keys: who may call what. Runs before the body of a request is read."""

from __future__ import annotations

import hmac
import re

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .config import Config

OPEN = frozenset({"/", "/healthz", "/livez", "/readyz"})
_READ_POST = re.compile(r"^/collections/[^/]+/(points(/scroll|/count|/query(/batch|/groups)?)?|facet)$")


def is_read(method: str, path: str) -> bool:
    """Whether the read-only key suffices."""
    return method in ("GET", "HEAD") or (method == "POST" and _READ_POST.match(path) is not None)


class ApiKeys:
    """ASGI middleware. No key configured means no check at all, as in the real server."""

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._full = config.api_keys
        self._read_only = config.read_only_api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["path"] in OPEN or not (self._full or self._read_only):
            return None
        given = _key(scope)
        if given is None:
            return PlainTextResponse("Must provide an API key or an Authorization bearer token", 401)
        if any(_same(given, key) for key in self._full):
            return None
        if self._read_only is None or not _same(given, self._read_only):
            return PlainTextResponse("Invalid API key or JWT", 401)
        if is_read(scope["method"], scope["path"]):
            return None
        return JSONResponse({"time": 0.0, "status": {"error": "Forbidden: Global manage access is required"}}, 403)


def _key(scope: Scope) -> bytes | None:
    headers = dict(scope["headers"])
    if b"api-key" in headers:
        return bytes(headers[b"api-key"])
    scheme, _, token = bytes(headers.get(b"authorization", b"")).partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def _same(given: bytes, key: str) -> bool:
    return hmac.compare_digest(given, key.encode())
