"""What is measured: this release in a process of its own data, or a service that runs."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from app.errors import ConfigurationError, DependencyUnavailableError
from app.evaluation.dataset import CorpusDocument
from app.settings import Settings

# Far enough for Recall@100; a service that allows fewer gives fewer.
DEPTH = 100
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer; ``cited`` are the ids of the documents that it cites."""

    text: str
    grounded: bool
    cited: list[str]


class Target(Protocol):
    """A service, seen from outside."""

    async def fill(self, documents: Sequence[CorpusDocument]) -> None:
        """Make the documents answerable; those that are there already stay."""
        ...

    async def ranking(self, question: str, wishes: dict[str, Any]) -> list[str]:
        """Ids of documents, best first, each at its best passage."""
        ...

    async def answer(self, question: str, wishes: dict[str, Any]) -> Answered: ...


class HttpTarget:
    """A service by its own API. A document is known by its ``source``, which is its id in the set."""

    def __init__(self, client: httpx.AsyncClient, collection: str | None = None, patience_s: float = 3600) -> None:
        self._client = client
        self._collection = {"collection": collection} if collection else {}
        self._patience_s = patience_s

    async def fill(self, documents: Sequence[CorpusDocument]) -> None:
        """Upload, and wait until all are answerable.

        Raises:
            ConfigurationError: the service refuses, or can't use a document.
            DependencyUnavailableError: it does not answer.
        """
        jobs = []
        for document in documents:
            sent = {
                # A text that holds nothing is no document; BEIR's sets have some.
                "text": document.text.strip() or document.title or document.id,
                "title": (document.title or document.id)[:500],
                "source": document.id,
                **self._collection,
            }
            accepted = await self._call("POST", "/api/v1/documents", sent)
            if accepted["job_id"] is not None:
                jobs.append((document.id, accepted["job_id"]))
        async with asyncio.timeout(self._patience_s):
            for source, job in jobs:
                await self._finished(source, job)

    async def _finished(self, source: str, job_id: str) -> None:
        while True:
            job = await self._call("GET", f"/api/v1/jobs/{job_id}")
            if job["state"] == "succeeded":
                return
            if job["state"] in ("failed", "cancelled"):
                raise ConfigurationError(f"Document {source!r} can't be indexed: {job['error_detail']}")
            await asyncio.sleep(POLL_SECONDS)

    async def ranking(self, question: str, wishes: dict[str, Any]) -> list[str]:
        """Search."""
        sent = {"query": question, "top_k": DEPTH, **self._collection, **wishes}
        found = await self._call("POST", "/api/v1/search", sent)
        return list(dict.fromkeys(passage["source"] for passage in found["passages"]))

    async def answer(self, question: str, wishes: dict[str, Any]) -> Answered:
        """Ask, past the cache."""
        sent = {"query": question, "use_cache": False, **self._collection, **wishes}
        found = await self._call("POST", "/api/v1/query", sent)
        return Answered(found["answer"], found["grounded"], [citation["source"] for citation in found["citations"]])

    async def _call(self, method: str, path: str, sent: dict[str, Any] | None = None) -> Any:
        try:
            response = await self._client.request(method, path, json=sent)
        except httpx.HTTPError as error:
            raise DependencyUnavailableError(
                "anchorage", f"{self._client.base_url} does not answer ({error}). Is it running? See --url."
            ) from error
        if response.is_error:
            raise ConfigurationError(f"The service refused {path} ({response.status_code}): {response.text[:300]}")
        return response.json()


@asynccontextmanager
async def running(
    url: str, key: str, trust: ssl.SSLContext | bool, collection: str | None
) -> AsyncIterator[HttpTarget]:
    """A service at ``url``; its ``collection`` is filled with the set, and keeps it."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, verify=trust, timeout=httpx.Timeout(120, connect=5)
    ) as client:
        yield HttpTarget(client, collection)


@asynccontextmanager
async def embedded(settings: Settings) -> AsyncIterator[HttpTarget]:
    """This release over a temporary index, through its own API, without a socket.

    Of ``settings`` everything holds but where data is kept; the set is gone at the end.
    """
    # The application is only needed here; a running service needs none of it.
    from app.auth.keys import Keyring, Scope  # noqa: PLC0415
    from app.db.bootstrap import DEFAULT_TENANT_ID  # noqa: PLC0415
    from app.main import create_app  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="anchorage-eval-") as directory:
        own = {
            "data_dir": Path(directory),
            "database_url": None,
            "vector_store_type": None,
            "qdrant_url": None,
            "qdrant_host": None,
            "redis_url": None,
            "redis_host": None,
            "max_retrieval_results": DEPTH,
            "job_poll_seconds": 0.02,
        }
        app = create_app(settings.model_copy(update=own))
        async with app.router.lifespan_context(app):
            keyring: Keyring = app.state.services.keyring
            key = await keyring.create(DEFAULT_TENANT_ID, "evaluation", frozenset(Scope))
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://embedded",
                headers={"Authorization": f"Bearer {key}"},
                timeout=httpx.Timeout(None),
            ) as client:
                yield HttpTarget(client)
