"""The worker's `/metrics`, on a loopback port: it serves nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

Render = Callable[[str], Awaitable[tuple[bytes, str]]]
HOST = "127.0.0.1"
CLOSE_SECONDS = 2.0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The worker's own way to end is not touched."""
        yield


@asynccontextmanager
async def serving(port: int, render: Render) -> AsyncIterator[None]:
    """Answer while the block runs; ``render`` takes the Accept header, and returns a text and its type.

    Raises:
        OSError: the port is taken.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        status, content_type, text = 404, "text/plain", b"There is only /metrics here.\n"
        if scope["path"] == "/metrics" and scope["method"] == "GET":
            accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
            (text, content_type), status = await render(accept), 200
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    config = uvicorn.Config(
        application,
        host=HOST,
        port=port,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(CLOSE_SECONDS),
    )
    listener = await asyncio.to_thread(config.bind_socket)
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
