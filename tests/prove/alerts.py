"""From a fault to somebody who is told, for every page."""

from __future__ import annotations

from lab.lab import Lab
from lab.system import LabError
from lab.up import bring_up, play
from tests.lab.alerts.faults import FAULTS
from tests.lab.alerts.firing import Told, receiver, seconds_to_page
from tests.prove.scorecard import Figure

MOST_S = 60


def measure() -> list[Figure]:
    """On a lab VM of its own, one fault after the other."""
    lab = Lab("prove-alerts")
    lab.down()
    try:
        bring_up(lab)
        play(lab, "site.yml")
        with receiver(lab) as told:
            return [_figure(lab, told, alert) for alert in FAULTS]
    finally:
        lab.down()


def _figure(lab: Lab, told: Told, alert: str) -> Figure:
    what = f"from the fault to `{alert}` at a webhook"
    try:
        seconds = seconds_to_page(lab, told, alert)
    except LabError as error:
        return Figure(what, f"≤ {MOST_S} s", f"not told: {error}".replace("|", "/"), met=False)
    return Figure(what, f"≤ {MOST_S} s", f"{seconds:.0f} s", seconds <= MOST_S)
