"""What is in service, what changed when, and whether the new release does as well as the old one."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.panels import AGO, COUNT, RATIO, SECONDS, About, Panel, Query, lines, number, rows, states

PHASE = {0: ("quiet", "transparent"), 1: ("deploy", "purple")}
CLIENTS = 'route!~"/health|/api/v1/(health|ready)|/metrics"'


def board() -> Board:
    """Old and new side by side."""
    return Board(
        "deploys",
        "Deploys",
        "Releases in service, by colour: their share of requests, failures and time; and drift from the playbook.",
        [
            Row("", [_versions(), _started(), _drift(), _drift_looked()]),
            Row("In service", [_builds(), _deploys(), _share(), _requests()]),
            Row("Old against new", [_failing(), _p95(), _abstained(), _drift_over_time()]),
        ],
        span="now-24h",
    )


def _versions() -> Panel:
    about = About(
        "Releases in service",
        "More than one during a deploy, or after one that stopped half way.",
        COUNT,
        runbooks=["DeployStuck"],
    )
    return number(about, Query("count(count by (version) (anchorage_build_info))"), width=6)


def _started() -> Panel:
    about = About("Last deploy", "When it began.", AGO, runbooks=["DeployStuck"])
    return number(about, Query("max(anchorage_deploy_started_timestamp_seconds) * 1000", now=True), width=6)


def _drift() -> Panel:
    about = About(
        "Drift",
        "Changes that the playbook would make, on all hosts, as the last nightly look found.",
        COUNT,
        alerts=["DriftFound"],
    )
    return number(about, Query("sum(anchorage_drift_changes)"), width=6)


def _drift_looked() -> Panel:
    about = About("Last look for drift", "Its age.", SECONDS, alerts=["DriftUnknown"])
    return number(about, Query("time() - max(anchorage_drift_last_run_timestamp_seconds)", now=True), width=6)


def _builds() -> Panel:
    about = About("Releases", "By host and colour.", COUNT, more="hosts")
    return rows(
        about,
        Query("anchorage_build_info", now=True),
        columns={"version": "Release", "instance": "Host", "job": "Part", "colour": "Colour"},
    )


def _deploys() -> Panel:
    about = About(
        "Deploys",
        "When one was under way. A new release starts as the other colour, and takes over when it has proven itself.",
        COUNT,
    )
    return states(
        about,
        Query("max(anchorage_deploy_in_progress)", "deploy"),
        meaning=PHASE,
    )


def _share() -> Panel:
    about = About("Share of requests by colour", "During a canary the new one has a small part.", RATIO)
    each = f"sum by (colour) (rate(http_requests_total{{{CLIENTS}}}[$__rate_interval]))"
    every = f"sum(rate(http_requests_total{{{CLIENTS}}}[$__rate_interval]))"
    return lines(about, Query(f"{each} / on () group_left () {every}", "{{colour}}"), stacked=True, most=1)


def _requests() -> Panel:
    about = About(
        "Colours that are up",
        "How many hosts run each; two colours during a deploy, one otherwise.",
        COUNT,
        runbooks=["AppDown"],
    )
    return lines(about, Query('sum by (colour) (up{job="app"})', "{{colour}}"), stacked=True)


def _failing() -> Panel:
    about = About(
        "Requests that fail, by colour", "Share of 5xx.", RATIO, alerts=["ErrorRateHigh", "ErrorRateVeryHigh"]
    )
    every = f"sum by (colour) (rate(http_requests_total{{{CLIENTS}}}[5m]))"
    failed = f'sum by (colour) (rate(http_requests_total{{status=~"5..",{CLIENTS}}}[5m]))'
    return lines(about, Query(f"({failed} or 0 * {every}) / {every}", "{{colour}}"))


def _p95() -> Panel:
    about = About(
        "p95 without generation, by colour", "500 ms are promised.", SECONDS, alerts=["AnswersSlow", "AnswersVerySlow"]
    )
    steps = 'anchorage_query_step_duration_seconds_bucket{step="without_generation"}'
    buckets = f"sum by (colour, le) (rate({steps}[$__rate_interval]))"
    return lines(about, Query(f"histogram_quantile(0.95, {buckets})", "{{colour}}"))


def _abstained() -> Panel:
    about = About(
        "Questions without an answer, by colour",
        "Share of five minutes; a release that finds less shows here.",
        RATIO,
        more="rag",
    )
    asked = "sum by (colour) (rate(anchorage_queries_total[5m]))"
    none = "sum by (colour) (rate(anchorage_abstentions_total[5m]))"
    return lines(about, Query(f"({none} or 0 * {asked}) / {asked}", "{{colour}}"), most=1)


def _drift_over_time() -> Panel:
    about = About("Drift", "Changes that the playbook would make.", COUNT, runbooks=["DriftFound"])
    return lines(about, Query("sum by (host) (anchorage_drift_changes)", "{{host}}"), stacked=True)
