"""Causes faults on a lab host and waits until somebody is told, and until they are told that it is over."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lab.host import Host
from lab.lab import Lab
from lab.system import LabError
from lab.up import HOST
from tests.lab.alerts.fault import PROGRAMS, Fault, asked, ended
from tests.lab.alerts.faults import FAULTS
from tests.lab.alerts.hurried import hurried, hurried_alertmanager
from tests.lab.stack.conftest import play

HERE = Path(__file__).parent
PORT, TOLD = 9999, "/run/told.jsonl"
PLAY = "tests/lab/alerts/play.yml"
# As long as somebody may wait for it at most before the test gives up.
PATIENCE_S = 180.0
RULES, ALERTMANAGER, AS_WRITTEN = "/etc/prometheus/rules", "/etc/prometheus/alertmanager.yml", "/root/as-written"
RELOAD = "systemctl reload prometheus prometheus-alertmanager"
NOTHING: Mapping[str, str] = {}


class Told:
    """What the receiver on the host was told: alerts, each with the time at which it arrived."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def ask(self, command: str) -> str:
        return self.host.execute("sh", "-c", command, root=True)

    @staticmethod
    def now() -> float:
        """The time on the clock that the host shares."""
        return time.time()

    def alerts(self) -> list[dict[str, Any]]:
        requests = [json.loads(line) for line in self.ask(f"cat {TOLD} 2>/dev/null || true").splitlines()]
        return [{"at": request["at"], **alert} for request in requests for alert in request["body"]["alerts"]]

    def wait(
        self, alert: str, status: str, since: float, patience_s: float = PATIENCE_S, where: Mapping[str, str] = NOTHING
    ) -> float:
        """When it was told, on the clock that the host shares; LabError when it was not."""
        deadline = time.monotonic() + patience_s
        wanted = {"alertname": alert, **where}
        while time.monotonic() < deadline:
            for one in self.alerts():
                if wanted.items() <= one["labels"].items() and one["status"] == status and one["at"] >= since:
                    return float(one["at"])
            time.sleep(1)
        heard = sorted({(one["labels"]["alertname"], one["status"]) for one in self.alerts() if one["at"] >= since})
        raise LabError(f"nobody was told within {patience_s:.0f} s that {alert} is {status}; they were of {heard}")


@contextmanager
def receiver(lab: Lab) -> Iterator[Told]:
    """Alertmanager tells a server on the lab's host, for as long as this lasts."""
    told = Told(lab.host(HOST))
    # What a run that was killed has left.
    told.ask(f"systemctl stop receiver 2>/dev/null || true; rm -rf {TOLD} {PROGRAMS}; mkdir {PROGRAMS}")
    for program in (HERE / "receiver.py", *(HERE / "on_host").glob("*.py")):
        told.ask(f"printf %s {shlex.quote(program.read_text())} > {PROGRAMS}/{program.name}")
    told.ask(f"systemd-run --quiet --unit=receiver python3 {PROGRAMS}/receiver.py {PORT} {TOLD}")
    at = f"http://127.0.0.1:{PORT}"
    try:
        _play(lab, {"urls": [f"{at}/people"], "switch": f"{at}/switch"})
        yield told
    finally:
        _play(lab, {})
        told.ask(f"systemctl stop receiver; rm -rf {PROGRAMS} {TOLD}")


@contextmanager
def in_a_hurry(told: Told) -> Iterator[None]:
    """Prometheus goes by the rules on its disk with their durations shortened, and Alertmanager waits less."""
    as_written = f"cp -a {AS_WRITTEN}/rules/. {RULES}/ && cp -a {AS_WRITTEN}/alertmanager.yml {ALERTMANAGER}"
    told.ask(f"if [ -e {AS_WRITTEN} ]; then {as_written}; rm -r {AS_WRITTEN}; fi")
    told.ask(f"mkdir {AS_WRITTEN}; cp -a {RULES} {AS_WRITTEN}/rules; cp -a {ALERTMANAGER} {AS_WRITTEN}/")
    try:
        for path in told.ask(f"ls {RULES}/*.yml").split():
            _write(told, path, yaml.safe_dump(hurried(yaml.safe_load(told.ask(f"cat {path}"))), width=1000))
        _write(told, ALERTMANAGER, hurried_alertmanager(told.ask(f"cat {ALERTMANAGER}")))
        told.ask(
            f"promtool check config /etc/prometheus/prometheus.yml && amtool check-config {ALERTMANAGER} && {RELOAD}"
        )
        yield
    finally:
        told.ask(f"{as_written} && rm -r {AS_WRITTEN} && {RELOAD}")


def seconds_to_page(told: Told, alert: str) -> float:
    """From the fault to the alert at the receiver; the fault is undone, and that it is over was told too."""
    fault = FAULTS[alert]
    begun = time.time()
    try:
        told.ask(fault.cause)
        arrived = told.wait(alert, "firing", begun, where=fault.where)
    finally:
        told.ask(fault.undo)
        told.wait(alert, "resolved", begun, where=fault.where)
    return arrived - begun


def seconds_to_pages(told: Told, alerts: Sequence[str], made_up_by: str) -> dict[str, float]:
    """The same for pages of one fault that look back for hours; ``made_up_by`` are the requests that then end them."""
    with caused(told, [FAULTS[alert] for alert in alerts]) as begun:
        arrived = {alert: told.wait(alert, "firing", begun) - begun for alert in alerts}
    told.ask(asked("made-up", made_up_by))
    try:
        for alert in alerts:
            told.wait(alert, "resolved", begun, patience_s=3 * PATIENCE_S)
    finally:
        told.ask(ended("made-up"))
    return arrived


@contextmanager
def caused(told: Told, faults: Sequence[Fault]) -> Iterator[float]:
    """All of these are there, each once, until they are undone; gives the time at which the first was caused."""
    begun = time.time()
    undone: list[Fault] = []
    failed: list[LabError] = []
    try:
        for fault in faults:
            if fault not in undone:
                undone.append(fault)
                told.ask(fault.cause)
        yield begun
    finally:
        for fault in undone:
            try:
                told.ask(fault.undo)
            except LabError as error:
                failed.append(error)
        if failed:
            raise LabError("; ".join(str(error) for error in failed))


def _write(told: Told, path: str, text: str) -> None:
    # Into the file that is there, so that its owner and mode stay.
    told.ask(f"printf %s {shlex.quote(text)} | tee {path} >/dev/null")


def _play(lab: Lab, variables: dict[str, Any]) -> None:
    done = play(lab, PLAY, "-e", json.dumps(variables))
    if done.returncode != 0:
        raise LabError(f"{PLAY} failed:\n{done.stdout[-3000:]}")
