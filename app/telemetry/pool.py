"""How many of a pool's connections are open, and in use: counted as they come and go."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from app.db.session import Database
from app.telemetry.metrics import IN_USE, OPEN, Metrics


def watch_pool(database: Database, metrics: Metrics) -> None:
    """Keep the gauges of this database's connections; they are summed over the processes of a service."""
    pool = database.engine.sync_engine.pool
    if not metrics.enabled or not isinstance(pool, QueuePool):
        return
    in_use = metrics.database_connections.labels(IN_USE)
    # Idle is what is left of these: one value less to write for every transaction.
    open_ = metrics.database_connections.labels(OPEN)
    metrics.database_pool_size.set(database.connection_limit)

    # By name, since one that turns out to be broken while it is taken is returned without ever having been taken.
    taken, there = set[ConnectionPoolEntry](), set[ConnectionPoolEntry]()

    def on_checkout(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        taken.add(record)
        in_use.set(len(taken))

    def on_checkin(_connection: object, record: ConnectionPoolEntry) -> None:
        taken.discard(record)
        in_use.set(len(taken))

    def on_connect(_connection: object, record: ConnectionPoolEntry) -> None:
        there.add(record)
        open_.set(len(there))

    def on_close(_connection: object, record: ConnectionPoolEntry) -> None:
        there.discard(record)
        open_.set(len(there))

    listeners: dict[str, Callable[..., None]] = {
        "checkout": on_checkout,
        "checkin": on_checkin,
        "connect": on_connect,
        "close": on_close,
    }
    for name, listener in listeners.items():
        event.listen(pool, name, listener)
