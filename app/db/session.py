"""Connections to the database: Postgres in server mode, SQLite in embedded mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import QueuePool

from app.errors import DependencyUnavailableError

# Any number that nothing else on this database uses: it spells "indx".
INDEX_LOCK = 0x696E6478


class Database:
    """A pool of connections. ``session()`` is one transaction: it commits, or nothing happened."""

    def __init__(self, url: str, pool_size: int = 5, other_password: str | None = None) -> None:
        """``other_password`` is tried where the URL's is refused, while the password is changed."""
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {}
        if self.is_sqlite:
            Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
            options["connect_args"] = {"timeout": 30}
        else:
            options |= {"pool_size": pool_size, "max_overflow": pool_size, "pool_pre_ping": True}
            # Questions that waited for another server all come at once; in 5 s not all had their turn.
            options["pool_timeout"] = 20
            options["connect_args"] = {"connect_timeout": 3, "application_name": "anchorage"}
        # What a statement was given may be somebody's question: no error may quote it.
        self.engine = create_async_engine(url, hide_parameters=True, **options)
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _tune_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
        if other_password is not None and not self.is_sqlite:
            event.listen(self.engine.sync_engine, "do_connect", _trying_also(other_password))
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._readers = async_sessionmaker(self.engine.execution_options(reading=True), expire_on_commit=False)

    @property
    def connection_limit(self) -> int:
        """How many connections this process may have open."""
        pool = self.engine.sync_engine.pool
        return pool.size() + pool._max_overflow if isinstance(pool, QueuePool) else 1

    @asynccontextmanager
    async def session(self, *, reading: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction; ``reading`` says that it writes nothing.

        Raises:
            DependencyUnavailableError: the database does not answer.
        """
        try:
            async with (self._readers if reading else self._sessions)() as session, session.begin():
                yield session
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise _unavailable() from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _unavailable() from error
            raise

    async def share_index(self, session: AsyncSession) -> None:
        """Until this transaction ends, no other index takes the place of the one that is searched."""
        await self._lock_index(session, "pg_advisory_xact_lock_shared")

    async def own_index(self, session: AsyncSession) -> None:
        """Wait for all who share the index, and hold it alone until this transaction ends."""
        await self._lock_index(session, "pg_advisory_xact_lock")

    async def _lock_index(self, session: AsyncSession, function: str) -> None:
        # SQLite has one writer at a time, and embedded mode one process.
        if not self.is_sqlite:
            await session.execute(text(f"SELECT {function}(:key)"), {"key": INDEX_LOCK})

    async def check(self) -> None:
        """Return when the database answers and its schema is there."""
        async with self.session(reading=True) as session:
            await session.execute(text("SELECT 1 FROM tenants LIMIT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def _unavailable() -> DependencyUnavailableError:
    return DependencyUnavailableError("postgres", "The database does not answer. Try again shortly.")


def _trying_also(password: str) -> Callable[..., Any]:
    """A way to connect that a change of the server's password does not break, whoever changes first."""

    def connect(dialect: Dialect, _record: object, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError as refused:
            # libpq gives a refused password no code of its own; for any other cause the second try fails the same way.
            try:
                return dialect.connect(*arguments, **{**options, "password": password})
            except dialect.loaded_dbapi.OperationalError:
                raise refused from None

    return connect


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another one wrote in between.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _tune_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
