"""What must be in the database before the first question: a tenant and a collection."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Collection, Tenant
from app.db.session import Database
from app.errors import ConfigurationError, NotFoundError
from app.providers.protocols import EmbeddingIdentity

DEFAULT = "default"
# Fixed, so that two hosts that start at once make the same rows.
_NAMESPACE = UUID("6c1ff1a4-6f5e-4ac4-a1d8-7b1a1d9f3c11")
DEFAULT_TENANT_ID = uuid5(_NAMESPACE, "tenant/default")
DEFAULT_COLLECTION_ID = uuid5(_NAMESPACE, "collection/default")


async def bootstrap(database: Database, identity: EmbeddingIdentity) -> None:
    """Make the default tenant and collection when absent, and refuse another model's vectors.

    Raises:
        ConfigurationError: a collection was made with another embedding model.
    """
    async with database.session() as session:
        insert = sqlite.insert if database.is_sqlite else postgresql.insert
        now = datetime.now(UTC)
        tenant = {"id": DEFAULT_TENANT_ID, "name": DEFAULT, "created_at": now}
        collection = {
            "id": DEFAULT_COLLECTION_ID,
            "tenant_id": DEFAULT_TENANT_ID,
            "name": DEFAULT,
            "epoch": 0,
            "embedding": str(identity),
            "created_at": now,
        }
        # Every process does this when it starts; whoever is first makes the row, the others find it.
        await session.execute(insert(Tenant).values(tenant).on_conflict_do_nothing())
        await session.execute(insert(Collection).values(collection).on_conflict_do_nothing())
    await check_embedding(database, identity)


async def check_embedding(database: Database, identity: EmbeddingIdentity) -> None:
    """Refuse to serve collections whose vectors come from another model.

    Raises:
        ConfigurationError: names the collection and both models.
    """
    async with database.session() as session:
        other = await session.scalar(select(Collection).where(Collection.embedding != str(identity)).limit(1))
    if other is not None:
        raise ConfigurationError(
            f"Collection {other.name!r} was made with embedding model {other.embedding}, but this service runs "
            f"{identity}. Their vectors can't be compared. Start with the former model, or run `anchorage reindex` "
            "with the new one first."
        )


async def find_collection(
    session: AsyncSession, tenant_id: UUID, name: str | None, *, lock: bool = False
) -> Collection:
    """The tenant's collection of that name; none means the default one. ``lock`` holds it for this transaction.

    Raises:
        NotFoundError: the tenant has no such collection.
    """
    wanted = name or DEFAULT
    query = select(Collection).where(Collection.tenant_id == tenant_id, Collection.name == wanted)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFoundError(f"There is no collection {wanted!r}.")
    return found
