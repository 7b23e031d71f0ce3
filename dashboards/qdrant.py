"""Qdrant, the index: derived, and made anew from Postgres when it must be."""

from __future__ import annotations

from dashboards.board import Board, Row, host_with
from dashboards.panels import BYTES, COUNT, PER_SECOND, RATIO, SECONDS, About, Panel, Query, lines, number, states

HERE = 'instance=~"$host"'
STATUSES = {
    1: ("green", "green"),
    2: ("yellow: it optimises", "yellow"),
    3: ("grey: it waits", "text"),
    4: ("red: broken", "red"),
}


def board() -> Board:
    """Is it whole, and is it fast."""
    return Board(
        "qdrant",
        "Qdrant",
        "Status and size of the collections, requests and memory of Qdrant.",
        [
            Row("", [_up(), _not_green(), _points(), _memory_now()]),
            Row("Collections", [_status(), _points_over_time()]),
            Row("Requests", [_requests(), _seconds(), _failed(), _search()]),
            Row("Process", [_memory(), _files()]),
        ],
        [host_with('up{job="qdrant"}')],
    )


def _up() -> Panel:
    about = About(
        "Servers that answer", "Hosts whose Qdrant tells its metrics.", COUNT, runbooks=["QdrantDown"], bad_below=1
    )
    return number(about, Query(f'sum(up{{job="qdrant",{HERE}}})'), width=6)


def _not_green() -> Panel:
    about = About(
        "Collections that are not green",
        "Yellow for a while is work in progress; red is broken.",
        COUNT,
        runbooks=["QdrantNotGreen", "QdrantRed"],
    )
    green = f'anchorage_qdrant_collection_status{{status="green",{HERE}}}'
    return number(about, Query(f"count({green} == 0) or 0 * count({green})"), width=6)


def _points() -> Panel:
    about = About("Points", "In all collections; each chunk of a document is one.", COUNT, more="ingestion")
    return number(about, Query(f"sum(collection_points{{{HERE}}})"), width=6)


def _memory_now() -> Panel:
    return number(
        About("Memory", "That is resident.", BYTES, more="hosts"),
        Query(f"sum(memory_resident_bytes{{{HERE}}})"),
        width=6,
    )


def _status() -> Panel:
    about = About(
        "Status of collections", "As Qdrant's own API tells it.", COUNT, runbooks=["QdrantNotGreen", "QdrantRed"]
    )
    series = "anchorage_qdrant_collection_status"
    coded = " or ".join(
        f'{code} * (max by (instance, collection) ({series}{{status="{status}",{HERE}}}) == 1)'
        for code, status in enumerate(("green", "yellow", "grey", "red"), start=1)
    )
    return states(about, Query(coded, "{{collection}} {{instance}}"), meaning=STATUSES)


def _points_over_time() -> Panel:
    about = About("Points by collection", "A collection that is rebuilt grows beside the one in use.", COUNT)
    return lines(about, Query(f"sum by (id) (collection_points{{{HERE}}})", "{{id}}"), stacked=True)


def _requests() -> Panel:
    about = About("Requests", "By what was asked.", PER_SECOND)
    series = f'rest_responses_total{{endpoint!~"/metrics|/readyz|/livez|/healthz",{HERE}}}'
    return lines(about, Query(f"sum by (endpoint) (rate({series}[$__rate_interval]))", "{{endpoint}}"), stacked=True)


def _seconds() -> Panel:
    about = About("Mean time of a request", "By what was asked, inside Qdrant.", SECONDS)
    kind = f'{{endpoint!~"/metrics|/readyz|/livez|/healthz",{HERE}}}'
    took, answered = (
        f"sum by (endpoint) (rate({series}{kind}[5m]))"
        for series in ("rest_responses_duration_seconds_sum", "rest_responses_total")
    )
    return lines(about, Query(f"{took} / ({answered} > 0)", "{{endpoint}}"))


def _failed() -> Panel:
    about = About("Requests that failed", "Share of answers with 5xx.", RATIO)
    failed = f'sum(rate(rest_responses_total{{status=~"5..",{HERE}}}[5m])) or vector(0)'
    return lines(about, Query(f"({failed}) / sum(rate(rest_responses_total{{{HERE}}}[5m]))", "failed"))


def _search() -> Panel:
    about = About(
        "Search, as the service sees it",
        "p50 and p95 with the way there, of the step search of a question.",
        SECONDS,
        more="rag",
    )
    buckets = 'sum by (le) (rate(anchorage_query_step_duration_seconds_bucket{step="search"}[$__rate_interval]))'
    return lines(about, *(Query(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.95)))


def _memory() -> Panel:
    about = About("Memory", "Resident, by host.", BYTES, runbooks=["MemoryLow"], more="hosts")
    return lines(about, Query(f"memory_resident_bytes{{{HERE}}}", "{{instance}}"))


def _files() -> Panel:
    about = About("Open files", "As a share of how many it may open; each segment of a collection needs some.", RATIO)
    used = f'process_open_fds{{job="qdrant",{HERE}}} / process_max_fds{{job="qdrant",{HERE}}}'
    return lines(about, Query(used, "{{instance}}"), most=1)
