"""A model server that writes one word at a time, as slowly as a test wants: to see what happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class SlowModel:
    """Speaks OpenAI's protocol at ``url``."""

    url: str = ""
    requests: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def slow_model(
    words: Sequence[str], pause_s: float, *, usage: tuple[int, int] | None = None, port: int = 0
) -> AsyncIterator[SlowModel]:
    """``left`` is set as soon as a client closes its connection before the last word; ``usage`` ends the answer."""
    model = SlowModel()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for word in words:
            writer.write(_chunk({"content": word}, None))
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.write(_chunk({}, "stop") + (_usage(*usage) if usage else b"") + b"data: [DONE]\n\n")
        await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        model.requests += 1
        model.asked.set()
        writing, leaving = asyncio.create_task(write(writer)), asyncio.create_task(reader.read())
        await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            model.left.set()
        for task in (writing, leaving):
            task.cancel()
        await asyncio.gather(writing, leaving, return_exceptions=True)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield model


@asynccontextmanager
async def completing_model(completion: str, answer: str) -> AsyncIterator[SlowModel]:
    """A model that writes ``answer`` from passages, and ``completion`` whatever else it is asked for.

    It counts 30 tokens in and 9 out for the latter.
    """
    model = SlowModel()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        model.requests += 1
        from_passages = "passages" in str(json.loads(body)["messages"][0]["content"])
        text, usage = (answer, b"") if from_passages else (completion, _usage(30, 9))
        writer.write(HEAD + _chunk({"content": text}, None) + _chunk({}, "stop") + usage + b"data: [DONE]\n\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield model


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _usage(prompt: int, completion: int) -> bytes:
    used = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [], "usage": used}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
