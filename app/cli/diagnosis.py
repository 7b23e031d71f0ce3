"""What `anchorage doctor` looks at: each dependency by itself, so that one that is away hides no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.backends import open_database, open_index, open_store
from app.db.migrate import pending
from app.errors import AnchorageError
from app.providers.embedding import identity_of, open_embedder
from app.providers.protocols import Instruction
from app.providers.registry import Answerers
from app.settings import Settings
from app.telemetry.metrics import Metrics


async def diagnose(settings: Settings) -> dict[str, str | None]:
    """Name of each check to its cure, or None where all is well."""
    database = open_database(settings, 1)
    identity = identity_of(settings)
    store = open_store(settings)

    async def schema() -> None:
        missing = await pending(database)
        if missing:
            raise RuntimeError(f"migrations {', '.join(missing)} are missing: run `anchorage migrate`")

    async def index() -> None:
        opened = open_index(settings, identity, database)
        try:
            await opened.prepare()
            await opened.check()
        finally:
            await opened.close()

    async def model() -> None:
        embedder = open_embedder(settings.model_copy(update={"embedding_threads": 1}))
        try:
            await embedder.embed_query("Is the model whole?")
        finally:
            await embedder.close()

    async def provider() -> None:
        answerers = Answerers(settings, Metrics(settings.metrics_namespace))
        try:
            # Each by itself: together, one stands in for another.
            for chosen in answerers.order:
                await answerers.get(chosen).complete(Instruction("You answer with one word.", "Say yes.", max_tokens=5))
        finally:
            await answerers.close()

    findings = {
        "database": await _cure(schema, "check DATABASE_URL, and that Postgres runs and lets this user in"),
        "vector index": await _cure(index, "check QDRANT_URL and QDRANT_API_KEY, and that Qdrant runs"),
        "cache": await _cure(store.check, "check REDIS_HOST and REDIS_PASSWORD; without Redis answers are only slower"),
        "embedding model": await _cure(model, "install the package again, or check EMBEDDING_PROVIDER and its server"),
        "answer provider": await _cure(provider, "or set PROVIDERS=extractive, which needs no model"),
    }
    await store.close()
    await database.close()
    return findings


async def _cure(check: Callable[[], Awaitable[None]], cure: str) -> str | None:
    try:
        await check()
    except AnchorageError as error:
        return f"{error.detail} ({cure})"
    except Exception as error:  # noqa: BLE001 - a doctor reports whatever it finds
        return f"{type(error).__name__}: {error} ({cure})"
    return None
