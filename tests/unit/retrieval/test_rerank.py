"""The reranking step over a real HTTP server that does what a test tells it to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from app.providers.rerank import HttpReranker
from app.retrieval.candidates import Candidate, Row, Stage
from app.retrieval.rerank import NOT_CONFIGURED, PAUSE_SECONDS, RerankStep
from app.settings import RerankForm


class Server:
    """Answers each POST with ``answer`` (bytes as they are, else JSON) and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers = ""
        self.answer: Any = None
        self.status = 200
        self.wait_s = 0.0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        self.headers = head
        self.asked.append(json.loads(await reader.readexactly(length)))
        await asyncio.sleep(self.wait_s)
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/rerank"
    yield made
    listening.close()


def candidates(*texts: str) -> list[Candidate]:
    rows = [Row(uuid4(), uuid4(), uuid4(), 0, "Title", "s", text, ("Head",), None, "text/plain") for text in texts]
    return [Candidate(row.chunk_id, row) for row in rows]


def texts(ranked: list[Candidate]) -> list[str]:
    return [candidate.visible.text for candidate in ranked]


@pytest.mark.parametrize(
    ("form", "answer", "asked"),
    [
        (
            RerankForm.JINA,
            {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]},
            {"model": "m", "query": "q", "documents": ["Title > Head\na", "Title > Head\nb"], "top_n": 2,
             "return_documents": False},
        ),
        (
            RerankForm.TEI,
            [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}],
            {"query": "q", "texts": ["Title > Head\na", "Title > Head\nb"], "truncate": True},
        ),
    ],
)  # fmt: skip
async def test_the_best_are_put_into_the_servers_order_the_others_stay_behind(
    server: Server, form: RerankForm, answer: Any, asked: dict[str, Any]
) -> None:
    server.answer = answer
    reranker = HttpReranker(server.url, "m", form, api_key="secret")
    ranked, outcome = await RerankStep(reranker, candidates=2).apply("q", candidates("a", "b", "c"), top_k=1)
    assert texts(ranked) == ["b", "a", "c"]
    assert [Stage.RERANK in candidate.standings for candidate in ranked] == [True, True, False]
    assert outcome.applied
    assert server.asked == [asked]
    assert "Bearer secret" in server.headers
    await reranker.close()


ONE = {"index": 0, "relevance_score": 0.5}


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (500, {}, "refused \\(HTTP 500\\)"),
        (401, {}, "RERANK_API_KEY"),
        (200, b"<html>", "can't be read"),
        (200, {"results": []}, "can't be read"),
        (200, {"results": [ONE, ONE]}, "can't be read"),
        (200, {"results": [ONE, {"index": 7, "relevance_score": 1}]}, "can't be read"),
        (200, {"results": [ONE, {"index": 1, "relevance_score": "NaN"}]}, "can't be read"),
        (200, {"results": [ONE, {"index": 1, "relevance_score": None}]}, "can't be read"),
        (200, [1, 2], "can't be read"),
        (200, "results", "can't be read"),
        (200, None, "can't be read"),
    ],
)
async def test_one_that_fails_changes_nothing_and_says_why(
    server: Server, status: int, answer: Any, reason: str
) -> None:
    server.status, server.answer = status, answer
    reranker = HttpReranker(server.url, "m")
    ranked, outcome = await RerankStep(reranker, 10).apply("q", candidates("a", "b"), 2)
    assert texts(ranked) == ["a", "b"]
    assert not outcome.applied
    assert outcome.reason is not None
    assert re.search(reason, outcome.reason)
    await reranker.close()


async def test_a_slow_one_is_done_without_and_left_alone_for_a_while(server: Server) -> None:
    now = [100.0]
    server.wait_s, server.answer = 5.0, {"results": [ONE]}
    reranker = HttpReranker(server.url, "m", timeout_s=0.1)
    step = RerankStep(reranker, 10, lambda: now[0])
    for _ in range(3):
        _, outcome = await step.apply("q", candidates("a"), 1)
        assert not outcome.applied
        assert outcome.reason is not None
        assert "within 0.1 s" in outcome.reason
    assert len(server.asked) == 1
    now[0] += PAUSE_SECONDS
    server.wait_s = 0.0
    _, outcome = await step.apply("q", candidates("a"), 1)
    assert outcome.applied
    await reranker.close()


async def test_one_that_is_gone_and_one_that_never_was(server: Server) -> None:
    reranker = HttpReranker("http://127.0.0.1:1/v1/rerank", "m")
    _, outcome = await RerankStep(reranker, 10).apply("q", candidates("a"), 1)
    assert outcome.reason is not None
    assert "can't be reached" in outcome.reason
    await reranker.close()
    ranked, outcome = await RerankStep(None, 10).apply("q", candidates("a"), 1)
    assert (texts(ranked), outcome.reason) == (["a"], NOT_CONFIGURED)
