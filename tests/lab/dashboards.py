"""The panels of all dashboards, asked of a lab host's Prometheus as Grafana would ask it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any
from uuid import uuid4

import httpx

from lab.up import ROOT

FOLDER = ROOT / "roles/grafana/files/dashboards"
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
# What Grafana puts in place of its variables: its own, and for a list of hosts all of them.
VALUES = {"$__rate_interval": "1m", "$__range": "5m", "$host": ".+"}
SPAN_S, STEP_S = 300, 15
TEXTFILES = "/var/lib/prometheus/node-exporter"
FAILING = "dashboards-test.service"
# No part writes these yet, or its timer has not run on a fresh host: here the test does, under the names that the
# dashboards and the rules read. {name: {labels: value}}; of a time, how many seconds from now.
PROMISED: dict[str, dict[str, float]] = {
    "anchorage_backup_last_success_timestamp_seconds": {'part="postgres"': -3600, 'part="qdrant"': -600},
    "anchorage_backup_success": {'part="postgres"': 1, 'part="qdrant"': 1},
    "anchorage_backup_size_bytes": {'part="postgres"': 4e8, 'part="qdrant"': 2e8},
    "anchorage_backup_duration_seconds": {'part="postgres"': 40, 'part="qdrant"': 9},
    "anchorage_drill_success": {"": 1},
    "anchorage_drill_last_success_timestamp_seconds": {"": -86400},
    "anchorage_drill_rto_seconds": {"": 240},
    "anchorage_drill_rpo_seconds": {"": 60},
    "anchorage_deploy_in_progress": {"": 1},
    "anchorage_deploy_started_timestamp_seconds": {"": -60},
    "anchorage_drift_changes": {'host="anchorage"': 0},
    "anchorage_drift_last_run_timestamp_seconds": {"": -7200},
}
# What the host's root answers to a command line.
Ask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a panel, as Grafana sends it."""

    dashboard: str
    panel: str
    expr: str
    now: bool

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.panel}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that show data."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def queries() -> list[Asked]:
    """Every query of every panel."""
    return [
        Asked(name, panel["title"], resolved(target["expr"]), target["instant"])
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def resolved(expr: str) -> str:
    """The query with Grafana's variables filled in; a variable that is not known here stays, and fails."""
    return re.sub(r"\$\w+", lambda match: VALUES.get(match[0], match[0]), expr)


def without_data(ask: Ask, wanted: list[Asked]) -> list[Asked]:
    """Those that Prometheus answers with no number. RuntimeError where it refuses one."""
    now = time.time()
    commands = []
    for one in wanted:
        way = "query" if one.now else "query_range"
        fields = {"query": one.expr}
        fields |= (
            {"time": f"{now:.0f}"}
            if one.now
            else {"start": f"{now - SPAN_S:.0f}", "end": f"{now:.0f}", "step": str(STEP_S)}
        )
        given = " ".join(f"--data-urlencode {quote(f'{name}={value}')}" for name, value in fields.items())
        commands.append(f"curl -s {PROMETHEUS}/{way} {given}; echo")
    # One log-in for all of them, and not more than a command line holds.
    answers = [
        line for at in range(0, len(commands), 40) for line in ask("\n".join(commands[at : at + 40])).splitlines()
    ]
    return [one for one, answer in zip(wanted, answers, strict=True) if not _has_number(one, json.loads(answer))]


def until_all_have_data(ask: Ask, seconds: float) -> list[Asked]:
    """Ask again what was empty, until nothing is; what is still empty in the end."""
    deadline = time.monotonic() + seconds
    left = without_data(ask, queries())
    while left and time.monotonic() < deadline:
        time.sleep(10)
        left = without_data(ask, left)
    return left


def variables_without_values(ask: Ask) -> list[str]:
    """Lists to choose from that would be empty."""
    empty = []
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                if found is None:
                    raise RuntimeError(f"{name}: {variable['query']} is not understood")
                told = ask(
                    f"curl -sG {PROMETHEUS}/label/{found[2]}/values --data-urlencode {quote(f'match[]={found[1]}')}"
                )
                if not json.loads(told)["data"]:
                    empty.append(f"{name}: ${variable['name']}")
    return empty


def _has_number(one: Asked, answer: dict[str, Any]) -> bool:
    if answer["status"] != "success":
        raise RuntimeError(f"{one.name}: {answer['error']}\n{one.expr}")
    samples = [
        sample for series in answer["data"]["result"] for sample in ([series["value"]] if one.now else series["values"])
    ]
    return any(math.isfinite(float(value)) for _, value in samples)


def use(client: httpx.Client, *, rounds: int, pause_s: float) -> None:
    """Documents, questions with and without an answer, ratings and mistakes: something of all that is counted."""
    for number in range(rounds):
        # Each time another: one that is there already would not be read again.
        text = f"# Pier {number}\n\nA crane at pier {number} lifts {number + 7} tons. Its number is {uuid4()}."
        document = {"text": text, "title": f"Pier {number}", "media_type": "text/markdown"}
        client.post("/api/v1/documents", json=document).raise_for_status()
        for question in (f"What does a crane at pier {number} lift?", "Who wrote the Odyssey?"):
            answer = client.post("/api/v1/query", json={"query": question}).raise_for_status().json()
            rating = {"request_id": answer["request_id"], "rating": "up"}
            client.post("/api/v1/feedback", json=rating).raise_for_status()
        client.get("/api/v1/jobs/none")
        time.sleep(pause_s)


@contextmanager
def something_of_all(ask: Ask, client: httpx.Client) -> Iterator[None]:
    """While the block runs there is something to see: use of the service, a unit that failed, and PROMISED metrics."""
    file = _write_what_is_promised(ask)
    ask(f"systemd-run --quiet --unit={FAILING} false")
    try:
        use(client, rounds=4, pause_s=8)
        yield
    finally:
        ask(f"rm -f {file}; systemctl reset-failed {FAILING}")


def _write_what_is_promised(ask: Ask) -> Path:
    """Not of those parts that write their own already."""
    file = Path(TEXTFILES) / "dashboards_test.prom"
    written = ask(f"rm -f {file}; cat {TEXTFILES}/*.prom || true")
    now = time.time()
    lines = [
        f"{name}{{{labels}}} {now + value if name.endswith('timestamp_seconds') else value:.0f}"
        for name, samples in PROMISED.items()
        if not re.search(rf"^{name}\b", written, re.MULTILINE)
        for labels, value in samples.items()
    ]
    ask(f"echo {quote(chr(10).join(lines))} > {file} && chmod 0644 {file}")
    return file
