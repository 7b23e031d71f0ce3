"""The running server: what every route shares (state, envelope, errors), and the periodic flush."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .collection import Collection
from .config import Config
from .errors import ApiError, format_error
from .metrics import Responses
from .storage import Storage

log = logging.getLogger("qdrant_standin")
Handler = Callable[["Server", Request], Awaitable[Any]]


@dataclass
class Server:
    """State shared by the routes. `not_ready_until` (monotonic seconds) is a fault switch, off by default."""

    config: Config
    storage: Storage
    responses: Responses = field(default_factory=Responses)
    snapshots_created: int = 0
    not_ready_until: float = 0.0

    def collection(self, request: Request) -> Collection:
        return self.storage.get(request.path_params["collection"])

    async def body(self, request: Request) -> Any:
        """The JSON body, at most `max_request_size_mb` long."""
        limit, size, parts = self.config.max_request_bytes, 0, []
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise ApiError(413, f"Payload Too Large: JSON payload is larger than allowed (limit: {limit} bytes)")
            parts.append(part)
        try:
            return json.loads(b"".join(parts))
        except (ValueError, RecursionError) as error:
            raise format_error(str(error)) from error

    async def flush_forever(self) -> None:
        """Bring dirty shards to disk every `flush_interval_sec`; until then they survive a kill, not a power cut."""
        while True:
            await asyncio.sleep(self.config.flush_interval_s)
            for collection in list(self.storage.collections.values()):
                async with collection.lock:
                    try:
                        if not collection.closed:
                            collection.flush()
                    except Exception:
                        log.exception("flush of %s failed; it is tried again in the next round", collection.name)


def route(server: Server, method: str, path: str, handler: Handler) -> Route:
    """A route whose result is put into the API's envelope; a `Response` goes out as it is."""

    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        response: Response
        try:
            result = await handler(server, request)
            response = result if isinstance(result, Response) else _envelope(result, started)
        except ApiError as error:
            response = _failure(error.status, error.message, started)
        except Exception:
            log.exception("%s %s failed", method, request.url.path)
            response = _failure(500, "Service internal error: see the log", started)
        server.responses.add(method, path, response.status_code, time.perf_counter() - started)
        return response

    return Route(path, endpoint, methods=[method])


def _envelope(result: Any, started: float) -> Response:
    return JSONResponse({"result": result, "status": "ok", "time": time.perf_counter() - started})


def _failure(status: int, message: str, started: float) -> Response:
    return JSONResponse({"status": {"error": message}, "time": time.perf_counter() - started}, status)


def lifespan(server: Server) -> Callable[[Starlette], Any]:
    """Flush while serving; flush and close everything when asked to stop (SIGTERM)."""

    @asynccontextmanager
    async def run(_app: Starlette) -> AsyncIterator[None]:
        delay = float(os.environ.get("QDRANT_STANDIN_FAULT_NOT_READY_S", "0"))
        server.not_ready_until = time.monotonic() + delay
        flusher = asyncio.create_task(server.flush_forever())
        try:
            yield
        finally:
            flusher.cancel()
            with suppress(asyncio.CancelledError):
                await flusher
            server.storage.close()
            log.info("all collections flushed and closed")

    return run
