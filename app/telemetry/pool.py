"""How many of a pool's connections are open, and in use: counted as they come and go."""

from __future__ import annotations

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

    # One that turns out to be broken while it is taken is returned without ever having been taken.
    def taken(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        record.record_info[IN_USE] = True
        in_use.inc()

    def returned(_connection: object, record: ConnectionPoolEntry) -> None:
        if record.record_info.pop(IN_USE, False):
            in_use.dec()

    def opened(_connection: object, record: ConnectionPoolEntry) -> None:
        record.record_info[OPEN] = True
        open_.inc()

    def closed(_connection: object, record: ConnectionPoolEntry) -> None:
        if record.record_info.pop(OPEN, False):
            open_.dec()

    for name, listener in (("checkout", taken), ("checkin", returned), ("connect", opened), ("close", closed)):
        event.listen(pool, name, listener)
