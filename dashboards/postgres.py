"""Postgres, the truth of everything."""

from __future__ import annotations

from dashboards.board import Board, Row, host_with
from dashboards.panels import (
    BYTES,
    BYTES_PER_SECOND,
    COUNT,
    PER_SECOND,
    RATIO,
    SECONDS,
    About,
    Panel,
    Query,
    lines,
    number,
)

HERE = 'instance=~"$host"'
# Not Postgres' own templates, nor what belongs to no database.
OURS = f'{HERE},datname!~"template.*|"'


def board() -> Board:
    """Connections first: they run out before anything else does."""
    return Board(
        "postgres",
        "Postgres",
        "Connections, transactions, memory and disk of Postgres, and the service's own pool of connections.",
        [
            Row("", [_up(), _connections_used(), _pool_used(), _commits(), _from_memory(), _size()]),
            Row("Connections", [_connections(), _pool()]),
            Row("Work", [_transactions(), _rows(), _longest(), _locks()]),
            Row("Memory and disk", [_reads(), _temporary(), _sizes(), _lag()]),
        ],
        [host_with("pg_up")],
    )


def _rate(series: str, labels: str = OURS) -> str:
    return f"sum(rate({series}{{{labels}}}[$__rate_interval]))"


def _up() -> Panel:
    about = About(
        "Servers that answer",
        "Hosts whose Postgres answers its exporter.",
        COUNT,
        runbooks=["PostgresDown"],
        bad_below=1,
    )
    return number(about, Query(f"sum(pg_up{{{HERE}}})"))


def _share_of_connections() -> str:
    most = f"max by (instance) (pg_settings_max_connections{{{HERE}}})"
    return f"sum by (instance) (pg_stat_activity_count{{{HERE}}}) / on (instance) {most}"


def _share_of_pool() -> str:
    used = 'sum by (instance, colour) (anchorage_database_pool_connections{state="in_use",job="app"})'
    return f'{used} / sum by (instance, colour) (anchorage_database_pool_size{{job="app"}})'


def _connections_used() -> Panel:
    about = About(
        "Connections used", "Open ones, as a share of max_connections.", RATIO, alerts=["PostgresConnectionsHigh"]
    )
    return number(about, Query(f"max({_share_of_connections()})"))


def _pool_used() -> Panel:
    about = About(
        "Service's pool in use",
        "Of the connections that one colour of the service may open.",
        RATIO,
        alerts=["DatabasePoolFull"],
    )
    return number(about, Query(f"max({_share_of_pool()})"))


def _commits() -> Panel:
    return number(
        About("Transactions", "Committed, in all databases.", PER_SECOND), Query(_rate("pg_stat_database_xact_commit"))
    )


def _from_memory() -> Panel:
    about = About("Read from memory", "Share of blocks of the last hour that Postgres had in its own buffers.", RATIO)
    hit, read = (f"sum(rate(pg_stat_database_blks_{what}{{{OURS}}}[1h]))" for what in ("hit", "read"))
    return number(about, Query(f"{hit} / ({hit} + {read})"))


def _size() -> Panel:
    return number(
        About("Size", "Of all databases.", BYTES, more="hosts"), Query(f"sum(pg_database_size_bytes{{{HERE}}})")
    )


def _connections() -> Panel:
    about = About(
        "Connections by state",
        "Many that are idle in transaction hold locks and old rows.",
        COUNT,
        runbooks=["PostgresConnectionsHigh"],
    )
    return lines(about, Query(f"sum by (state) (pg_stat_activity_count{{{HERE}}})", "{{state}}"), stacked=True)


def _pool() -> Panel:
    about = About(
        "Service's pool in use",
        "By host and colour; above the line requests soon wait for a connection.",
        RATIO,
        alerts=["DatabasePoolFull"],
    )
    return lines(about, Query(_share_of_pool(), "{{instance}} {{colour}}"), most=1)


def _transactions() -> Panel:
    about = About("Transactions", "Committed, rolled back, and deadlocks.", PER_SECOND)
    return lines(
        about,
        Query(_rate("pg_stat_database_xact_commit"), "committed"),
        Query(_rate("pg_stat_database_xact_rollback"), "rolled back"),
        Query(_rate("pg_stat_database_deadlocks"), "deadlocks"),
    )


def _rows() -> Panel:
    about = About("Rows", "Fetched by index or scan, and written.", PER_SECOND)
    return lines(
        about,
        *(Query(_rate(f"pg_stat_database_tup_{what}"), what) for what in ("fetched", "inserted", "updated", "deleted")),
    )


def _longest() -> Panel:
    about = About("Longest transaction", "A long one keeps old rows from being cleaned.", SECONDS)
    return lines(about, Query(f"max by (instance) (pg_stat_activity_max_tx_duration{{{HERE}}})", "{{instance}}"))


def _locks() -> Panel:
    about = About("Locks", "By mode; accessexclusivelock stops all others on its table.", COUNT)
    return lines(about, Query(f"sum by (mode) (pg_locks_count{{{OURS}}}) > 0", "{{mode}}"), stacked=True)


def _reads() -> Panel:
    about = About("Blocks read", "From Postgres' buffers, and from the system (its cache or the disk).", PER_SECOND)
    return lines(
        about,
        Query(_rate("pg_stat_database_blks_hit"), "buffers"),
        Query(_rate("pg_stat_database_blks_read"), "system"),
    )


def _temporary() -> Panel:
    about = About("Written to temporary files", "Sorts that did not fit into work_mem.", BYTES_PER_SECOND)
    return lines(about, Query(_rate("pg_stat_database_temp_bytes"), "written"))


def _sizes() -> Panel:
    about = About("Size of each database", "On its host's disk.", BYTES, runbooks=["DiskFillsUp"], more="hosts")
    return lines(about, Query(f"sum by (datname) (pg_database_size_bytes{{{OURS}}})", "{{datname}}"), stacked=True)


def _lag() -> Panel:
    about = About(
        "Lag of replicas",
        "How far the newest row of a replica is behind; 0 on a primary.",
        SECONDS,
        alerts=["PostgresReplicationLag"],
    )
    # Debian 12 and 13 name it differently.
    return lines(
        about, Query(f'max by (instance) ({{__name__=~"pg_replication_lag(_seconds)?",{HERE}}})', "{{instance}}")
    )
