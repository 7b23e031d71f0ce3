"""A real OpenAI-compatible server with a real small model; and a server that fails on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import xllamacpp

from app.providers.local import LocalAnswerer, bundled_model
from app.providers.protocols import Answerer, AnswerRequest, SourcePassage, Usage

KEY = "key-of-the-test-server"
HARBOUR = SourcePassage(1, "Harbour", "The office opens at nine. A berth costs 34 euros a night.", 0.9)
WEATHER = SourcePassage(2, "Weather", "Storms are frequent in autumn. The pier closes in a storm.", 0.5)


@dataclass(frozen=True, slots=True)
class ModelServer:
    """llama.cpp's own server on a loopback port."""

    url: str
    key: str
    handle: object = field(repr=False)


@pytest.fixture(scope="session")
def model_server() -> ModelServer:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(bundled_model())
    parameters.n_ctx = 640
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.verbosity = 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [KEY]
    server = xllamacpp.Server(parameters)
    return ModelServer(f"{server.listening_address}/v1", KEY, server)


@pytest.fixture(scope="session")
def local() -> Iterator[LocalAnswerer]:
    answerer = LocalAnswerer(model_path=None, timeout_s=60, context_tokens=512)
    yield answerer
    asyncio.run(answerer.close())


@dataclass(slots=True)
class FaultyServer:
    """Answers each request with the same bytes; ``hold`` keeps the connection open until the client closes it."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def faulty_server(response: bytes, *, hold: bool = False) -> AsyncIterator[FaultyServer]:
    state = FaultyServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(response)
        await writer.drain()
        while hold and await reader.read(65536):
            pass
        state.client_left.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield state


async def collect(answerer: Answerer, request: AnswerRequest) -> tuple[list[str], Usage | None]:
    """The pieces of text, and the usage that came last."""
    pieces: list[str] = []
    usage: Usage | None = None
    async for delta in answerer.stream(request):
        pieces.append(delta.text)
        usage = delta.usage or usage
    return pieces, usage
