"""Redis: the answer cache and the limits, which can be lost."""

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


def board() -> Board:
    """Memory first: when it is full, answers go."""
    return Board(
        "redis",
        "Redis",
        "Memory, hits, evictions and clients of Redis.",
        [
            Row("", [_up(), _memory_used(), _found(), _evicted(), _rejected(), _clients()]),
            Row("Memory", [_memory(), _keys()]),
            Row("Work", [_commands(), _found_over_time(), _slow(), _lost()]),
            Row("Clients and disk", [_connections(), _traffic(), _saved()]),
        ],
        [host_with("redis_up")],
    )


def _rate(series: str, window: str = "$__rate_interval") -> str:
    return f"sum(rate({series}{{{HERE}}}[{window}]))"


def _share_found() -> str:
    hits, misses = (_rate(f"redis_keyspace_{what}_total", "1h") for what in ("hits", "misses"))
    return f"{hits} / ({hits} + {misses})"


def _up() -> Panel:
    about = About(
        "Servers that answer", "Hosts whose Redis answers its exporter.", COUNT, runbooks=["RedisDown"], bad_below=1
    )
    return number(about, Query(f"sum(redis_up{{{HERE}}})"))


def _memory_used() -> Panel:
    about = About(
        "Memory used",
        "Of what it may (redis_maxmemory_mb); when full, the least used keys go.",
        RATIO,
        runbooks=["RedisEvicts"],
    )
    return number(about, Query(f"max(redis_memory_used_bytes{{{HERE}}} / redis_memory_max_bytes)"))


def _found() -> Panel:
    about = About(
        "Keys found",
        "Share of the last hour's look-ups. What it saves in models is on the page of questions.",
        RATIO,
        more="rag",
    )
    return number(about, Query(_share_found()))


def _evicted() -> Panel:
    about = About("Evicted", "Keys a second that went because the memory was full.", PER_SECOND, alerts=["RedisEvicts"])
    return number(about, Query(_rate("redis_evicted_keys_total", "5m")))


def _rejected() -> Panel:
    about = About(
        "Clients turned away", "In five minutes, beyond redis_max_clients.", COUNT, alerts=["RedisRejectsConnections"]
    )
    return number(about, Query(f"sum(increase(redis_rejected_connections_total{{{HERE}}}[5m]))", now=True))


def _clients() -> Panel:
    return number(About("Clients", "That are connected.", COUNT), Query(f"sum(redis_connected_clients{{{HERE}}})"))


def _memory() -> Panel:
    about = About(
        "Memory",
        "Of keys, what the process holds in all, and what keys may take.",
        BYTES,
        runbooks=["RedisEvicts"],
        more="hosts",
    )
    return lines(
        about,
        Query(f"redis_memory_used_bytes{{{HERE}}}", "keys {{instance}}"),
        Query(f"redis_memory_used_rss_bytes{{{HERE}}}", "process {{instance}}"),
        Query(f"redis_memory_max_bytes{{{HERE}}}", "limit {{instance}}"),
    )


def _keys() -> Panel:
    about = About("Keys", "All, and those with a time to live.", COUNT)
    return lines(
        about,
        Query(f"sum(redis_db_keys{{{HERE}}})", "all"),
        Query(f"sum(redis_db_keys_expiring{{{HERE}}})", "with a time to live"),
    )


def _commands() -> Panel:
    about = About("Commands", "The ten most frequent.", PER_SECOND)
    return lines(
        about,
        Query(f"topk(10, sum by (cmd) (rate(redis_commands_total{{{HERE}}}[$__rate_interval])))", "{{cmd}}"),
        stacked=True,
    )


def _found_over_time() -> Panel:
    about = About("Keys found", "Share of look-ups of the last hour.", RATIO)
    return lines(about, Query(_share_found(), "found"), most=1)


def _slow() -> Panel:
    about = About("Time of a command", "Mean of the five that take longest, inside Redis.", SECONDS)
    seconds, calls = (
        f"sum by (cmd) (rate({name}{{{HERE}}}[5m]))"
        for name in ("redis_commands_duration_seconds_total", "redis_commands_total")
    )
    return lines(about, Query(f"topk(5, {seconds} / ({calls} > 0))", "{{cmd}}"))


def _lost() -> Panel:
    about = About(
        "Keys that went", "expired at their time, evicted for lack of memory.", PER_SECOND, alerts=["RedisEvicts"]
    )
    return lines(
        about,
        Query(_rate("redis_expired_keys_total"), "expired"),
        Query(_rate("redis_evicted_keys_total"), "evicted"),
    )


def _connections() -> Panel:
    about = About("Connections", "Open ones, and how many there may be.", COUNT, runbooks=["RedisRejectsConnections"])
    return lines(
        about,
        Query(f"redis_connected_clients{{{HERE}}}", "open {{instance}}"),
        Query(f"redis_blocked_clients{{{HERE}}}", "waiting for a key {{instance}}"),
    )


def _traffic() -> Panel:
    about = About("Traffic", "From and to clients.", BYTES_PER_SECOND)
    return lines(
        about, Query(_rate("redis_net_input_bytes_total"), "in"), Query(_rate("redis_net_output_bytes_total"), "out")
    )


def _saved() -> Panel:
    about = About("Since the last snapshot", "Changes in it are lost with the host; that is allowed.", SECONDS)
    return lines(about, Query(f"time() - redis_rdb_last_save_timestamp_seconds{{{HERE}}}", "{{instance}}"), width=24)
