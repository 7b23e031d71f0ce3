"""Is the promise kept, what is wrong, and where to look next."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.panels import (
    COUNT,
    RATIO,
    REQUESTS,
    SECONDS,
    UP,
    About,
    Panel,
    Query,
    lines,
    number,
    rows,
    states,
)

# The promise, as in the rules: so large a share of requests may fail, and of questions be slow.
MAY_FAIL, MAY_BE_SLOW = 0.001, 0.05
CLIENTS = 'route!~"/health|/api/v1/(health|ready)|/metrics"'
WINDOWS = ("1h", "6h", "1d", "3d")
LONG = '"/health|/metrics|.*/(health|ready|query|completions|events)"'


def board() -> Board:
    """The first page."""
    return Board(
        "overview",
        "Overview",
        "The promise to users and how much of it is used up, what is wrong now, and the way to what knows more.",
        [
            Row("", [_availability_left(), _speed_left(), _alerts_firing(), _requests(), _failing(), _p95()]),
            Row("What clients get", [_by_status(), _failing_over_time(), _durations(), _outside()]),
            Row("How fast the budgets burn", [_burn_of_failures(), _burn_of_slowness()]),
            Row("What it stands on", [_dependencies(), _targets(), _alerts()]),
        ],
    )


def _availability_left() -> Panel:
    return number(
        About(
            "Availability budget left",
            "Of the requests that may fail in 30 days (0.1 %), the share that did not. Below 0 the promise is broken.",
            RATIO,
            runbooks=["AvailabilityBurns"],
            bad_below=0,
        ),
        Query(f"1 - anchorage:error_ratio:rate30d / {MAY_FAIL}", now=True),
    )


def _speed_left() -> Panel:
    return number(
        About(
            "Speed budget left",
            "Of the questions that may take more than 500 ms before generation in 30 days (5 %), those that did not.",
            RATIO,
            runbooks=["LatencyBurns"],
            bad_below=0,
        ),
        Query(f"1 - anchorage:slow_ratio:rate30d / {MAY_BE_SLOW}", now=True),
    )


def _alerts_firing() -> Panel:
    firing = 'ALERTS{alertstate="firing",severity=~"page|warn"}'
    return number(
        About("Alerts firing", "Pages and warnings. The list below says which.", COUNT),
        Query(f"count({firing}) or vector(0)", now=True),
    )


def _requests() -> Panel:
    return number(
        About("Requests", "From clients: probes of health and metrics don't count.", REQUESTS, more="rag"),
        Query(f"sum(rate(http_requests_total{{{CLIENTS}}}[$__rate_interval]))"),
    )


def _failing() -> Panel:
    return number(
        About(
            "Requests that fail",
            "Share of requests of the last five minutes that ended with a failure of ours (5xx).",
            RATIO,
            alerts=["ErrorRateHigh", "ErrorRateVeryHigh"],
        ),
        Query("anchorage:error_ratio:rate5m"),
    )


def _p95() -> Panel:
    return number(
        About(
            "p95 of questions",
            "19 of 20 questions are faster, without the time in which a model writes. 500 ms are promised.",
            SECONDS,
            alerts=["AnswersSlow", "AnswersVerySlow"],
            more="rag",
        ),
        Query('anchorage:p95_seconds:rate1m{of="questions"}'),
    )


def _by_status() -> Panel:
    return lines(
        About(
            "Requests by status", "2xx are answered, 4xx refused for the client's fault, 5xx failed for ours.", REQUESTS
        ),
        Query(
            "sum by (class) (label_replace(rate(http_requests_total{"
            + CLIENTS
            + '}[$__rate_interval]), "class", "$1", "status", "(.).."))',
            "{{class}}xx",
        ),
        stacked=True,
    )


def _failing_over_time() -> Panel:
    return lines(
        About(
            "Requests that fail",
            "Share of 5xx in the last five minutes, with the lines at which it warns and pages.",
            RATIO,
            alerts=["ErrorRateHigh", "ErrorRateVeryHigh"],
        ),
        Query("anchorage:error_ratio:rate5m", "of all"),
    )


def _durations() -> Panel:
    buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{{route!~{LONG}}}[$__rate_interval]))"
    return lines(
        About(
            "Time of requests",
            "p95 without generation, and the median of all but streams. Points lead to traces, if these are kept.",
            SECONDS,
            alerts=["AnswersSlow", "AnswersVerySlow"],
            more="rag",
        ),
        Query("anchorage:p95_seconds:rate1m", "p95 of {{of}}"),
        Query(f"histogram_quantile(0.5, {buckets})", "median of requests", traces=True),
    )


def _outside() -> Panel:
    return states(
        About(
            "From outside",
            "Whether every public name answers by HTTPS, and answers a question, as a client would see it.",
            COUNT,
            runbooks=["EdgeUnreachable", "QuestionUnanswered"],
            more="nginx",
        ),
        Query("probe_success", "{{job}} {{instance}}"),
        meaning=UP,
    )


def _burn(title: str, of: str, series: str, budget: float, alerts: list[str]) -> Panel:
    return lines(
        About(
            title,
            f"1 uses up the month's budget of {of} in a month, 14.4 in two days. It pages when a long and a short "
            "window are both above their line.",
            "none",
            alerts=alerts,
            scale=1 / budget,
        ),
        *(Query(f"{series}:rate{window} / {budget}", window) for window in WINDOWS),
    )


def _burn_of_failures() -> Panel:
    names = ["AvailabilityBurnsSlowly", "AvailabilityBurns", "AvailabilityBurnsFast"]
    return _burn("Availability budget: burn rate", "failures", "anchorage:error_ratio", MAY_FAIL, names)


def _burn_of_slowness() -> Panel:
    names = ["LatencyBurnsSlowly", "LatencyBurns", "LatencyBurnsFast"]
    return _burn("Speed budget: burn rate", "slow questions", "anchorage:slow_ratio", MAY_BE_SLOW, names)


def _dependencies() -> Panel:
    return states(
        About(
            "Dependencies",
            "Whether the service reaches them. Without postgres or qdrant questions fail, without redis they are slow.",
            COUNT,
            runbooks=["DependencyUnreachable"],
        ),
        Query("min by (dependency) (anchorage_dependency_up)", "{{dependency}}"),
        meaning=UP,
        width=8,
    )


def _targets() -> Panel:
    return states(
        About(
            "Parts",
            "Whether each kind of server tells how it is. Of the service one colour must be up on each host.",
            COUNT,
            runbooks=["TargetDown"],
            more="hosts",
        ),
        Query("min by (job) (max by (job, instance) (up))", "{{job}}"),
        meaning=UP,
        width=8,
    )


def _alerts() -> Panel:
    return rows(
        About(
            "Alerts",
            "What fires now; each leads to its runbook. Watchdog always does: it proves that alerting works.",
            COUNT,
        ),
        Query('ALERTS{alertstate="firing"}', now=True),
        columns={"alertname": "Alert", "severity": "Severity", "instance": "Host", "component": "Part"},
        width=8,
        link="docs/runbooks/${__value.raw}.md",
    )
