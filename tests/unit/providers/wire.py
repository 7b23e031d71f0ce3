"""A loopback server that answers with recorded shapes, one a request, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class WireServer:
    """``left`` is set when a client closed its connection; ``hold`` keeps it open until then."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def wire_server(*responses: bytes, hold: bool = False) -> AsyncIterator[WireServer]:
    """Answers the first request with the first response, and so on; the last one again and again."""
    state = WireServer()
    remaining = list(responses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        state.paths.append(head.split()[1])
        state.heads.append(head)
        state.bodies.append(json.loads(await reader.readexactly(length)))
        writer.write(remaining.pop(0) if len(remaining) > 1 else remaining[0])
        await writer.drain()
        while hold and await reader.read(65536):
            pass
        state.left.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield state


def json_response(status: str, body: Any) -> bytes:
    """A whole answer; what may be retried is to be retried at once."""
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{head}retry-after-ms: 1\r\nConnection: close\r\n\r\n".encode() + content


def event_stream(*events: tuple[str | None, Any]) -> bytes:
    """Server-sent events, named or not."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    lines = [(f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n" for name, data in events]
    return head + "".join(lines).encode()
