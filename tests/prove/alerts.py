"""Every alert is caused on a lab VM and seen to arrive, and its runbook is followed meanwhile.

Pages are timed, by the rules as they are. Then all alerts, which wait for up to days, by the same rules with shorter
durations.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.lab import Lab
from lab.system import LabError
from lab.up import ROOT, anchorage, bring_up, play, service
from tests.lab.alerts.fault import Fault
from tests.lab.alerts.faults import AS_THEY_ARE, BUDGETS, FAULTS, HURRIED
from tests.lab.alerts.firing import Told, caused, in_a_hurry, receiver, seconds_to_page, seconds_to_pages
from tests.lab.alerts.runbook import DO, LOOK, OVER, Ran, Reader
from tests.prove.scorecard import Figure
from tests.unit.roles.test_alerts import ALERTS, cases

MOST_S = 60


@dataclass
class Seen:
    """What became of each alert: whether it arrived and ended, and its runbook's commands did what they should."""

    arrived: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)

    def count(self, what: str, alerts: set[str]) -> Figure:
        missing = sorted(set(ALERTS) - alerts)
        said = f"{len(alerts)}{', not: ' + ', '.join(missing) if missing else ''}"
        return Figure(f"alerts {what}", f"{len(ALERTS)}", said, not missing)


def measure_pages() -> list[Figure]:
    """On a lab VM of its own: from each fault to its page."""
    with _stack("prove-pages") as lab, receiver(lab) as told:
        # Budgets before there is a history.
        return [
            *(figure for alerts, made_up_by in BUDGETS.items() for figure in _budget(told, alerts, made_up_by)),
            *(_page(told, alert) for alert in AS_THEY_ARE),
        ]


def measure() -> list[Figure]:
    """On a lab VM of its own: each alert, and its runbook."""
    seen = Seen()
    with _stack("prove-alerts") as lab, receiver(lab) as told, in_a_hurry(told):
        reader = Reader(lab, told.host)
        for batch in (*((page,) for page in AS_THEY_ARE), *HURRIED):
            _together(told, reader, seen, batch)
        _switch(told, reader, seen)
    tested = {alert for alert in ALERTS if cases(alert)}
    return [
        seen.count("with a case for promtool", tested),
        seen.count("caused in the lab and seen to arrive and to end", seen.arrived),
        seen.count("whose runbook was followed meanwhile", seen.followed),
    ]


@contextmanager
def _stack(name: str) -> Iterator[Lab]:
    lab = Lab(name)
    lab.down()
    try:
        bring_up(lab)
        play(lab, "site.yml")
        # Questions need something to be answered from.
        anchorage(service(lab), "ingest", str(ROOT / "docs"))
        yield lab
    finally:
        lab.down()


def _budget(told: Told, alerts: tuple[str, ...], made_up_by: str) -> list[Figure]:
    try:
        arrived = seconds_to_pages(told, alerts, made_up_by)
    except LabError as error:
        _say(f"{', '.join(alerts)}: {error}")
        return [_not_told(alert, error) for alert in alerts]
    return [_told(alert, seconds) for alert, seconds in arrived.items()]


def _told(alert: str, seconds: float) -> Figure:
    _say(f"{alert}: arrived after {seconds:.0f} s")
    return _figure(alert, f"{seconds:.0f} s", met=seconds <= MOST_S)


def _not_told(alert: str, error: LabError) -> Figure:
    return _figure(alert, f"not told: {error}".replace("|", "/"), met=False)


def _figure(alert: str, said: str, *, met: bool) -> Figure:
    return Figure(f"from the fault to `{alert}` at a webhook", f"≤ {MOST_S} s", said, met)


def _page(told: Told, alert: str) -> Figure:
    try:
        return _told(alert, seconds_to_page(told, alert))
    except LabError as error:
        _say(f"{alert}: {error}")
        return _not_told(alert, error)


def _together(told: Told, reader: Reader, seen: Seen, batch: tuple[str, ...]) -> None:
    there: list[str] = []
    with _told_of(", ".join(batch)):
        with caused(told, [FAULTS[alert] for alert in batch]) as begun:
            for alert in batch:
                with _told_of(alert):
                    at = told.wait(alert, "firing", begun, where=FAULTS[alert].where)
                    _say(f"{alert}: arrived after {at - begun:.0f} s, hurried")
                    there.append(alert)
            good = {alert for alert in there if _followed(told, reader, alert, FAULTS[alert])}
        for alert in there:
            with _told_of(alert):
                told.wait(alert, "resolved", begun, where=FAULTS[alert].where)
                seen.arrived.add(alert)
                if _over(reader, alert) and alert in good:
                    seen.followed.add(alert)


def _switch(told: Told, reader: Reader, seen: Seen) -> None:
    """The dead man's switch: what is always told is told no more, and again when Alertmanager is back."""
    fault = Fault("systemctl stop prometheus-alertmanager", "systemctl start prometheus-alertmanager")
    with _told_of("Watchdog"):
        with caused(told, [fault]):
            good = _followed(told, reader, "Watchdog", fault)
        told.wait("Watchdog", "firing", told.now())
        seen.arrived.add("Watchdog")
        if _over(reader, "Watchdog") and good:
            seen.followed.add("Watchdog")


def _followed(told: Told, reader: Reader, alert: str, fault: Fault) -> bool:
    """Whether all of its commands did what they should; what can't even be run counts as one that did not."""
    looked = done = False
    with _told_of(alert):
        looked = _ran(alert, reader.follow(alert, fault, LOOK))
        if fault.mend:
            told.ask(fault.mend)
        done = _ran(alert, reader.follow(alert, fault, DO))
    return looked and done


def _over(reader: Reader, alert: str) -> bool:
    return _ran(alert, reader.follow(alert, FAULTS.get(alert, Fault("", "")), OVER))


def _ran(alert: str, done: list[Ran]) -> bool:
    for one in done:
        _say(
            f"    {alert}, {one.section}: {one.status} {one.command[:110]}{'   <-- ' + one.wrong if one.wrong else ''}"
        )
    return not any(one.wrong for one in done)


@contextmanager
def _told_of(what: str) -> Iterator[None]:
    """What fails is said, counts as not seen, and the rest goes on."""
    try:
        yield
    except LabError as error:
        _say(f"{what}: {error}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
