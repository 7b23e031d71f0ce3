"""Alive, ready, healthy, and the metrics."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import ServicesDep
from app.api.errors import PROBLEM_RESPONSES, problem_responses
from app.auth.keys import Principal, Scope
from app.errors import AuthenticationError, DependencyUnavailableError, NotFoundError
from app.providers.breaker import Circuit
from app.services import Services
from app.state import Dependency, dependencies, measured
from app.telemetry.exposition import render

router = APIRouter(tags=["operations"], responses=PROBLEM_RESPONSES)
api_router = APIRouter(tags=["operations"], responses=problem_responses(400))


class DependencyHealth(BaseModel):
    """One dependency: whether it answers, and how fast."""

    status: Literal["up", "down"]
    latency_ms: float
    required: bool


class Health(BaseModel):
    """``degraded``: it answers, but something that it can do without is away."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "version": "0.1.0",
                    "dependencies": {"postgres": {"status": "up", "latency_ms": 0.81, "required": True}},
                }
            ]
        }
    )
    status: Literal["ok", "degraded", "unavailable"]
    version: str
    dependencies: dict[str, DependencyHealth] | None = None
    providers: dict[str, Circuit] | None = Field(
        None, description="Model providers asked so far: `open` is one that is left alone after failures."
    )


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "alive"}]})
    status: Literal["alive"]


class Ready(BaseModel):
    """Questions can be answered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready"}]})
    status: Literal["ready"]


@router.get("/health", summary="Health, with each dependency on request")
async def health(request: Request, services: ServicesDep, detailed: Annotated[bool, Query()] = False) -> Health:
    """``detailed=true`` needs an API key: it tells what stands behind the service."""
    if detailed:
        await _authenticated(request, services)
    found = await dependencies(services.parts)
    down = [item for item in found.values() if not item.up]
    status: Literal["ok", "degraded", "unavailable"] = "degraded" if down else "ok"
    if any(item.required for item in down):
        status = "unavailable"
    return Health(
        status=status,
        version=version("anchorage"),
        dependencies={name: _told(item) for name, item in found.items()} if detailed else None,
        providers=services.answerers.circuits() if detailed else None,
    )


@api_router.get("/health", summary="Alive: the process answers")
async def alive() -> Alive:
    """Says nothing of dependencies: a restart would not mend those."""
    return Alive(status="alive")


@api_router.get("/ready", summary="Ready: questions can be answered", responses=problem_responses(503))
async def ready(services: ServicesDep) -> Ready:
    """503 names the dependency that is away. Redis is not needed: without it answers are only slower."""
    for name, item in (await dependencies(services.parts)).items():
        if item.required and not item.up:
            raise DependencyUnavailableError(name, f"Not ready: {name} does not answer.")
    return Ready(status="ready")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": 'anchorage_queries_total{cache="miss",grounded="true",provider="extractive"} 12.0\n',
                }
            }
        }
    },
)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Open on the host itself, where Prometheus or its agent asks; from elsewhere with a key of scope ``metrics``."""
    if not services.settings.enable_metrics:
        raise NotFoundError("Metrics are turned off: ENABLE_METRICS is false.")
    direct = request.client is not None and request.client.host in ("127.0.0.1", "::1")
    if not direct or "x-forwarded-for" in request.headers:
        (await _authenticated(request, services)).require(Scope.METRICS)
    settings, accept = services.settings, request.headers.get("accept", "")
    read = await measured(services.parts, settings.metrics_namespace, settings.app_colour)
    text, content_type = await asyncio.to_thread(render, services.metrics, read, accept)
    # A connection that Prometheus keeps open looks like a request in hand to who waits for this colour to be idle.
    return Response(text, headers={"Content-Type": content_type, "Connection": "close"})


async def _authenticated(request: Request, services: Services) -> Principal:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.headers.get("x-api-key", "")
    if not key:
        raise AuthenticationError("This needs an API key: send `Authorization: Bearer anc_…`.")
    return await services.keyring.authenticate(key)


def _told(item: Dependency) -> DependencyHealth:
    return DependencyHealth(status="up" if item.up else "down", latency_ms=item.latency_ms, required=item.required)
