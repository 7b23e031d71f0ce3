"""The application: the only place where its parts are put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute

from app.api import (
    cache,
    collections,
    documents,
    errors,
    feedback,
    health,
    jobs,
    openai,
    pages,
    query,
    search,
    sessions,
)
from app.api.middleware import AllowHosts, LimitBody, Observe
from app.services import Services, open_services
from app.settings import Settings
from app.telemetry.logs import configure_logs
from app.telemetry.metrics import Metrics
from app.telemetry.otlp import open_tracer

MAX_JSON_BYTES = 1024 * 1024
# Less than gunicorn's timeout, which ends a worker that is silent for longer.
START_PATIENCE_SECONDS = 45.0


def from_environment() -> FastAPI:
    """What gunicorn and uvicorn call."""
    settings = Settings()
    configure_logs(settings)
    return create_app(settings)


def create_app(settings: Settings) -> FastAPI:
    """Build the application; nothing is opened before it starts."""
    metrics = Metrics(settings.metrics_namespace, enabled=settings.enable_metrics)
    traced = open_tracer(settings, "web", metrics)
    tracer, exporter = traced if traced is not None else (None, None)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = await open_services(settings, metrics, START_PATIENCE_SECONDS, tracer)
        app.state.services = services
        try:
            # Loads the clients, and stops the start when the service could answer nothing.
            services.answerers.get(None)
            async with _embedded_worker(services), _sweeping(services):
                yield
        finally:
            await services.close()
            if exporter is not None:
                await asyncio.to_thread(exporter.close)

    app = FastAPI(
        title="Anchorage",
        summary="Answers with citations from your own documents",
        version=version("anchorage"),
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        # FastAPI's own pages load their scripts from elsewhere; ours are in app.api.pages.
        docs_url=None,
        redoc_url=None,
    )
    errors.install(app)
    for resource in (query, search, documents, jobs, collections, sessions, feedback, cache):
        app.include_router(resource.router, prefix=settings.api_v1_prefix)
    app.include_router(health.api_router, prefix=settings.api_v1_prefix)
    for alias in (query, sessions):
        app.include_router(alias.router, include_in_schema=False)
    app.include_router(openai.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    # The last one added is the first one met.
    app.add_middleware(
        LimitBody,
        max_bytes=MAX_JSON_BYTES,
        uploads=f"{settings.api_v1_prefix}/documents",
        max_upload_bytes=settings.max_upload_bytes,
    )
    app.add_middleware(AllowHosts, hosts=settings.allowed_hosts)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "Last-Event-ID"],
            expose_headers=["X-Request-ID"],
        )
    app.add_middleware(Observe, metrics=metrics, tracer=tracer)
    return app


@contextlib.asynccontextmanager
async def _embedded_worker(services: Services) -> AsyncIterator[None]:
    """In embedded mode this process also works on documents; else `anchorage worker` does."""
    if not services.settings.embedded:
        yield
        return
    task = asyncio.create_task(services.worker.run())
    try:
        yield
    finally:
        services.worker.stop()
        await task


@contextlib.asynccontextmanager
async def _sweeping(services: Services) -> AsyncIterator[None]:
    """Sessions that have ended are removed now and then, by every process that serves."""
    stopping = asyncio.Event()
    task = asyncio.create_task(services.conversations.keep_swept(stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


def _operation_id(route: APIRoute) -> str:
    """Short and stable names for generated clients: ``documents_add``."""
    return f"{route.tags[0] if route.tags else 'api'}_{route.name}"
