"""What `anchorage doctor` looks at: each thing by itself, so that one that is away hides no other."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

from sqlalchemy import text

from app.backends import open_database, open_index, open_store
from app.cache.store import CacheStore
from app.db.bootstrap import check_embedding
from app.db.migrate import pending
from app.db.models import JobState
from app.db.session import Database
from app.errors import AnchorageError, ConfigurationError
from app.providers.embedding import identity_of, open_embedder
from app.providers.protocols import Instruction
from app.providers.registry import Answerers
from app.settings import Settings
from app.state import queue
from app.telemetry.metrics import Metrics

GIB = 1 << 30
LEAST_FREE = 0.05
LITTLE_FREE = 0.15
LONG_WAIT_SECONDS = 300


class State(StrEnum):
    """``warning`` works, and somebody should look at it; it is no failure to a script."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; ``cure`` is what to do, unless all is well."""

    name: str
    state: State
    detail: str
    cure: str | None = None


class _WarningError(Exception):
    """It works, but: what is, and what to do."""

    def __init__(self, detail: str, cure: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.cure = cure


async def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything; what is wrong raises nothing."""
    database = open_database(settings, 1)
    store = open_store(settings)
    doctor = _Doctor(settings, database, store)
    looks: tuple[tuple[str, Callable[[], Awaitable[str]], str], ...] = (
        ("settings", doctor.settings_of, "see docs/operator.md"),
        ("database", doctor.schema, "check DATABASE_URL, and that Postgres runs and lets this user in"),
        ("vector index", doctor.index, "check QDRANT_URL and QDRANT_API_KEY, and that Qdrant runs"),
        ("embedding stamp", doctor.stamp, "see `anchorage reindex --help`"),
        ("cache", doctor.cache, "check REDIS_HOST and REDIS_PASSWORD; without Redis answers are only slower"),
        ("queue", doctor.jobs, "check DATABASE_URL"),
        ("embedding model", doctor.model, "install the package again, or check EMBEDDING_PROVIDER and its server"),
        ("answer provider", doctor.providers, "or set PROVIDERS=extractive, which needs no model"),
        ("disk", doctor.disk, "make room: the service writes nothing on a full disk"),
    )
    try:
        return [await _finding(name, look, cure) for name, look, cure in looks]
    finally:
        await store.close()
        await database.close()


def unusable(error: ConfigurationError) -> list[Finding]:
    """When the settings can't even be read there is nothing else to look at."""
    return [Finding("settings", State.FAILED, error.detail, "mend that variable")]


class _Doctor:
    """Each method says how it is in a few words, or raises."""

    def __init__(self, settings: Settings, database: Database, store: CacheStore) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._identity = identity_of(settings)

    async def settings_of(self) -> str:
        settings = self._settings
        watching = [
            *(["metrics"] if settings.enable_metrics else []),
            *(["traces"] if settings.otel_exporter_otlp_endpoint else []),
            *(["reports"] if settings.sentry_dsn else []),
        ]
        mode = "embedded mode" if settings.embedded else "server mode"
        return f"release {version('anchorage')}, {mode}, {settings.app_env}; watched by {', '.join(watching) or 'none'}"

    async def schema(self) -> str:
        start = perf_counter()
        missing = await pending(self._database)
        if missing:
            raise RuntimeError(f"migrations {', '.join(missing)} are missing: run `anchorage migrate`")
        async with self._database.session(reading=True) as session:
            revision = await session.scalar(text("SELECT version_num FROM alembic_version"))
        kind = "SQLite" if self._database.is_sqlite else "Postgres"
        return f"{kind}, schema {revision}, {_ms(start)}"

    async def index(self) -> str:
        opened = open_index(self._settings, self._identity, self._database)
        try:
            await opened.prepare()
            start = perf_counter()
            await opened.check()
            return f"{await opened.count()} points, {_ms(start)}"
        finally:
            await opened.close()

    async def stamp(self) -> str:
        await check_embedding(self._database, self._identity)
        return f"all collections are of {self._identity}"

    async def cache(self) -> str:
        start = perf_counter()
        await self._store.check()
        keys = await self._store.size()
        return f"{'Redis' if self._settings.redis_dsn else 'in the process'}, {keys} keys, {_ms(start)}"

    async def jobs(self) -> str:
        found = await queue(self._database)
        said = ", ".join(
            f"{found.jobs[state]} {state}" for state in (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)
        )
        if found.oldest_s > LONG_WAIT_SECONDS:
            raise _WarningError(f"{said}; the first has waited {found.oldest_s:.0f} s", "does a worker run?")
        if found.jobs[JobState.FAILED]:
            raise _WarningError(said, "see `anchorage jobs list --state failed`; `jobs retry` tries one again")
        return said

    async def model(self) -> str:
        embedder = open_embedder(self._settings.model_copy(update={"embedding_threads": 1}))
        try:
            start = perf_counter()
            await embedder.embed_query("Is the model whole?")
            return f"{self._identity.name}, {self._identity.dimension} dimensions, {_ms(start)}"
        finally:
            await embedder.close()

    async def providers(self) -> str:
        answerers = Answerers(self._settings, Metrics(self._settings.metrics_namespace, enabled=False))
        said = []
        try:
            # Each by itself: together, one stands in for another.
            for chosen in answerers.order:
                start = perf_counter()
                answerer = answerers.get(chosen)
                await answerer.complete(Instruction("You answer with one word.", "Say yes.", max_tokens=5))
                said.append(f"{chosen} ({answerer.model}, {_ms(start)})")
        finally:
            await answerers.close()
        return ", ".join(said)

    async def disk(self) -> str:
        place = self._settings.data_dir.absolute() if self._settings.embedded else Path("/")
        while not place.exists():
            place = place.parent
        usage = shutil.disk_usage(place)
        free = usage.free / usage.total
        said = f"{usage.free / GIB:.1f} GiB of {usage.total / GIB:.1f} free at {place}"
        if free < LEAST_FREE:
            raise RuntimeError(said)
        if free < LITTLE_FREE:
            raise _WarningError(said, "make room before it is full")
        return said


async def _finding(name: str, look: Callable[[], Awaitable[str]], cure: str) -> Finding:
    try:
        return Finding(name, State.OK, await look())
    except _WarningError as warning:
        return Finding(name, State.WARNING, warning.detail, warning.cure)
    except AnchorageError as error:
        return Finding(name, State.FAILED, error.detail, cure)
    except Exception as error:  # noqa: BLE001 - a doctor reports whatever it finds
        return Finding(name, State.FAILED, f"{type(error).__name__}: {error}", cure)


def _ms(start: float) -> str:
    return f"{(perf_counter() - start) * 1000:.0f} ms"
