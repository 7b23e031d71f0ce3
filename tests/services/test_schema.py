"""The migrations and the models describe the same schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import JSON, Column, Connection

from app.db.migrate import migrate
from app.db.models import Base
from app.db.session import Database

pytestmark = pytest.mark.services


def defaults_differ(_context: object, _found: object, column: Column[object], found: str | None, *rest: object) -> Any:
    """Postgres has no equality of JSON, by which Alembic would compare; None leaves the others to it."""
    if not isinstance(column.type, JSON):
        return None
    _, expected = rest
    return (found or "").removesuffix("::json") != (expected or "")


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection,
        opts={"compare_type": True, "compare_server_default": defaults_differ, "target_metadata": Base.metadata},
    )
    return list(compare_metadata(context, Base.metadata))


async def test_on_postgres(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    assert await migrate(database) == []


async def test_on_sqlite(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'schema.db'}")
    await migrate(database)
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()
