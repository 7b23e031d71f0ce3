"""The edge, from inside and from outside."""

from __future__ import annotations

from dashboards.board import Board, Row, host_with
from dashboards.panels import COUNT, REQUESTS, SECONDS, UP, About, Panel, Query, lines, number, states

HERE = 'instance=~"$host"'


def board() -> Board:
    """What reaches the edge, and what a client sees of it."""
    return Board(
        "nginx",
        "Edge",
        "nginx on each host of the edge, and the public names as a client sees them.",
        [
            Row("", [_up(), _requests(), _open(), _certificate()]),
            Row("From outside", [_probes(), _probe_seconds()]),
            Row("Inside", [_requests_by_host(), _connections(), _dropped(), _unit()]),
        ],
        [host_with("nginx_up")],
    )


def _up() -> Panel:
    about = About("Edges that run", "Hosts whose nginx tells its counters.", COUNT, runbooks=["NginxDown"], bad_below=1)
    return number(about, Query(f"sum(nginx_up{{{HERE}}})"), width=6)


def _requests() -> Panel:
    about = About("Requests", "All that nginx got, its own refusals and probes too.", REQUESTS, more="overview")
    return number(about, Query(f"sum(rate(nginx_http_requests_total{{{HERE}}}[$__rate_interval]))"), width=6)


def _open() -> Panel:
    about = About("Open connections", "Of clients; streams keep theirs for as long as they last.", COUNT)
    return number(about, Query(f"sum(nginx_connections_active{{{HERE}}})"), width=6)


def _certificate() -> Panel:
    about = About(
        "Certificate's time left",
        "Of the public name whose certificate ends first.",
        SECONDS,
        alerts=["CertificateEndsSoon", "CertificateEndsVerySoon"],
    )
    return number(about, Query("min(probe_ssl_earliest_cert_expiry) - time()", now=True), width=6)


def _probes() -> Panel:
    about = About(
        "Public names",
        "Whether each answers by HTTPS (probe_https), and answers a question (probe_question).",
        COUNT,
        runbooks=["EdgeUnreachable", "QuestionUnanswered"],
    )
    return states(about, Query("probe_success", "{{job}} {{instance}}"), meaning=UP)


def _probe_seconds() -> Panel:
    about = About("Time of a probe", "By phase: name, connection, TLS, the answer's begin and its end.", SECONDS)
    return lines(about, Query("sum by (job, phase) (probe_http_duration_seconds)", "{{job}} {{phase}}"), stacked=True)


def _requests_by_host() -> Panel:
    about = About("Requests by host", "A host that gets none is not reached.", REQUESTS)
    return lines(
        about, Query(f"rate(nginx_http_requests_total{{{HERE}}}[$__rate_interval])", "{{instance}}"), stacked=True
    )


def _connections() -> Panel:
    about = About(
        "Connections",
        "reading a request, writing an answer (or waiting for the service), waiting for the next request.",
        COUNT,
    )
    return lines(
        about,
        *(Query(f"sum(nginx_connections_{state}{{{HERE}}})", state) for state in ("reading", "writing", "waiting")),
        stacked=True,
    )


def _dropped() -> Panel:
    about = About(
        "Dropped connections",
        "Accepted and not handled: nginx_worker_connections is too small where this is not 0.",
        "cps",
    )
    each = [f"rate(nginx_connections_{state}{{{HERE}}}[$__rate_interval])" for state in ("accepted", "handled")]
    return lines(about, Query(" - ".join(each), "{{instance}}"))


def _unit() -> Panel:
    about = About(
        "Restarts of nginx",
        "In ten minutes, by systemd. A reload is none.",
        COUNT,
        alerts=["UnitRestarts"],
        more="hosts",
    )
    restarts = f'increase(node_systemd_service_restart_total{{name="nginx.service",{HERE}}}[10m])'
    return lines(about, Query(restarts, "{{instance}}"))
