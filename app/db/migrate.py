"""Brings the database to this release's schema; only one process at a time does it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.db.session import Database

# Any number will do as long as nothing else on this database uses it: it spells "anch".
ADVISORY_LOCK = 0x616E6368


async def migrate(database: Database) -> list[str]:
    """Apply what is missing and return the revisions that were applied, oldest first."""
    async with database.engine.begin() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        return await connection.run_sync(_upgrade)


async def pending(database: Database) -> list[str]:
    """Revisions that the database lacks, oldest first."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(_missing)


def _configuration(connection: Connection) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    configuration.attributes["connection"] = connection
    return configuration


def _missing(connection: Connection) -> list[str]:
    script = ScriptDirectory.from_config(_configuration(connection))
    present = set(MigrationContext.configure(connection).get_current_heads())
    missing = []
    for revision in script.walk_revisions():
        if revision.revision in present:
            break
        missing.append(revision.revision)
    return missing[::-1]


def _upgrade(connection: Connection) -> list[str]:
    missing = _missing(connection)
    if missing:
        command.upgrade(_configuration(connection), "head")
    return missing
