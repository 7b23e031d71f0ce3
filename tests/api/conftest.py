"""The real application in embedded mode: its own database, engine, models and worker, over its real ASGI edge."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from app.auth.keys import Scope
from app.db.bootstrap import DEFAULT, DEFAULT_TENANT_ID
from app.db.models import Collection, Tenant
from app.main import create_app
from app.services import Services
from app.settings import Settings


@dataclass
class Running:
    """A started service, a client that holds a key of all scopes, and one that holds none."""

    app: FastAPI
    services: Services
    client: httpx.AsyncClient
    stranger: httpx.AsyncClient

    async def add(self, text: str, title: str = "Note", **fields: Any) -> str:
        """Add a document and wait until it is answerable; returns its id."""
        sent = {"text": text, "title": title, "media_type": "text/markdown", **fields}
        response = await self.client.post("/api/v1/documents", json=sent)
        assert response.status_code == 202, response.text
        await self.finished(response.json()["job_id"])
        return str(response.json()["document"]["id"])

    async def finished(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end."""
        async with asyncio.timeout(30):
            while True:
                job: dict[str, Any] = (await self.client.get(f"/api/v1/jobs/{job_id}")).json()
                if job["state"] in ("succeeded", "failed"):
                    return job
                await asyncio.sleep(0.02)

    async def tenant(self, name: str) -> dict[str, str]:
        """Another tenant with a collection of its own; the headers of a key that may do everything there."""
        tenant_id, now = uuid4(), datetime.now(UTC)
        async with self.services.database.session() as session:
            session.add(Tenant(id=tenant_id, name=f"{name} {tenant_id}", created_at=now))
            await session.flush()
            session.add(
                Collection(
                    id=uuid4(),
                    tenant_id=tenant_id,
                    name=DEFAULT,
                    epoch=0,
                    embedding=str(self.services.embedder.identity),
                    created_at=now,
                )
            )
        key = await self.services.keyring.create(tenant_id, "test", frozenset(Scope))
        return {"Authorization": f"Bearer {key}"}

    async def ask(self, query: str, **fields: Any) -> dict[str, Any]:
        """The answer to a question that must be accepted."""
        response = await self.client.post("/api/v1/query", json={"query": query, **fields})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


@asynccontextmanager
async def as_tenant(shared: Running) -> AsyncIterator[Running]:
    """A running service as a new tenant sees it: empty, and unseen by the others."""
    transport = httpx.ASGITransport(shared.app, raise_app_exceptions=False)
    headers = await shared.tenant("own")
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield Running(shared.app, shared.services, client, shared.stranger)


@asynccontextmanager
async def listening(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a loopback port, and a client that holds a key."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(running.app, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve([listener]))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=base_url, headers=running.client.headers, timeout=30) as client:
        yield client
    server.should_exit = True
    await task


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, job_poll_seconds=0.02, max_upload_bytes=1024 * 1024)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Running]:
    """The service, from its start to its end."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app):
        services: Services = app.state.services
        key = await services.keyring.create(DEFAULT_TENANT_ID, "test", frozenset(Scope))
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
            httpx.AsyncClient(transport=transport, base_url="http://test") as stranger,
        ):
            yield Running(app, services, client, stranger)


@pytest_asyncio.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    """A service of the test's own."""
    async with started(settings) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One service for all tests that leave nothing behind in it."""
    async with started(Settings(data_dir=tmp_path_factory.mktemp("shared"), job_poll_seconds=0.02)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def own(shared: Running) -> AsyncIterator[Running]:
    """The shared service, as a tenant of the test's own."""
    async with as_tenant(shared) as own:
        yield own
