"""A fault on the host is told, within a minute where it pages, and its end too.

This is the short form: a minute in which all is well, one page by the rules as they are, and what can go wrong at once
by hurried ones. `make prove` has every page (PART=pages), every alert with its runbook (PART=alerts), and half an hour
without any (PART=soak).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab.alerts.faults import FAULTS, HURRIED
from tests.lab.alerts.firing import Told, caused, in_a_hurry, receiver, seconds_to_page
from tests.lab.secret_change import questions
from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab
RATE_PER_S = 5.0


@pytest.fixture(scope="module")
def told(stack: Stack) -> Iterator[Told]:
    with receiver(stack.lab) as listening:
        yield listening


def test_nobody_is_told_anything_while_all_is_well(stack: Stack, told: Told) -> None:
    begun = time.time()
    with questions(stack.service, stack.service.api_key, RATE_PER_S) as load:
        time.sleep(60)
    heard = {one["labels"]["alertname"] for one in told.alerts() if one["at"] >= begun}
    assert load.report.sent > 200
    assert not load.report.failures, load.report
    # A lab host sees the processors of the whole machine, on which other tests run too.
    assert heard <= {"Watchdog", "CpuBusy"}


def test_a_page_arrives_within_a_minute(told: Told) -> None:
    assert seconds_to_page(told, "WorkerDown") <= 60


@pytest.fixture(scope="module")
def hurry(told: Told) -> Iterator[None]:
    with in_a_hurry(told):
        yield


@pytest.mark.usefixtures("hurry")
def test_many_faults_at_once_are_all_told_and_so_is_their_end(told: Told) -> None:
    alerts = HURRIED[0]
    with caused(told, [FAULTS[alert] for alert in alerts]) as begun:
        for alert in alerts:
            told.wait(alert, "firing", begun, where=FAULTS[alert].where)
    for alert in alerts:
        told.wait(alert, "resolved", begun, where=FAULTS[alert].where)


@pytest.mark.usefixtures("hurry")
def test_the_switch_hears_that_alerting_works_and_nothing_when_it_does_not(told: Told) -> None:
    begun = time.time()
    told.wait("Watchdog", "firing", begun, patience_s=45)
    told.ask("systemctl stop prometheus-alertmanager")
    try:
        silent = time.time()
        time.sleep(25)
        assert [one for one in told.alerts() if one["at"] > silent] == []
    finally:
        told.ask("systemctl start prometheus-alertmanager")
