"""How many of a pool's connections are open, and in use: counted as they come and go."""

from __future__ import annotations

from sqlalchemy import event
from sqlalchemy.pool import QueuePool

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

    def taken(*_: object) -> None:
        in_use.inc()

    def returned(*_: object) -> None:
        in_use.dec()

    def opened(*_: object) -> None:
        open_.inc()

    def closed(*_: object) -> None:
        open_.dec()

    for name, listener in (("checkout", taken), ("checkin", returned), ("connect", opened), ("close", closed)):
        event.listen(pool, name, listener)
