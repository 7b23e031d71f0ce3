"""Nobody is told anything while all is well: half an hour under load, and while the service is changed under it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from lab.lab import Lab
from lab.up import bring_up, play, service
from tests.lab.alerts.firing import Told, receiver
from tests.lab.load import Report
from tests.lab.secret_change import make_key, questions
from tests.lab.stack.conftest import play as played
from tests.prove.scorecard import Figure

SOAK_S = 1800
# Alerts wait up to five minutes for what they watch to last.
AFTERWARDS_S = 360
RATE_PER_S = 10.0


def measure() -> list[Figure]:
    """On a lab VM of its own."""
    lab = Lab("prove-soak")
    lab.down()
    try:
        bring_up(lab)
        play(lab, "site.yml")
        with receiver(lab) as told:
            key = make_key(lab.hosts[0], "soak")
            with questions(service(lab), key, RATE_PER_S) as load:
                healthy = _told_while(told, lambda: time.sleep(SOAK_S))
                deployed = _told_while(told, lambda: _deploy(lab))
    finally:
        lab.down()
    return [
        _silent(f"alerts in {SOAK_S // 60} min in which all is well, {RATE_PER_S:g} questions/s", healthy, load.report),
        _silent("alerts while site.yml restarts the service with other settings, and after it", deployed, load.report),
    ]


def _told_while(told: Told, act: Callable[[], None]) -> list[str]:
    """Names of the alerts that somebody was told of meanwhile; the Watchdog always fires."""
    begun = time.time()
    act()
    return sorted({one["labels"]["alertname"] for one in told.alerts() if one["at"] >= begun} - {"Watchdog"})


def _deploy(lab: Lab) -> None:
    done = played(lab, "site.yml", "-e", json.dumps({"app_web_workers": 3}))
    if done.returncode != 0:
        raise RuntimeError(f"site.yml failed:\n{done.stdout[-4000:]}")
    time.sleep(AFTERWARDS_S)


def _silent(what: str, names: list[str], report: Report) -> Figure:
    said = f"{len(names)} {' '.join(names)}".strip()
    return Figure(what, "0", f"{said} ({report.sent} questions in all)", not names and report.sent > 0)
