"""A fault on the host is told within a minute, and its end too. `make prove PART=alerts` does it for every page."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab.alerts.faults import ELSEWHERE, FAULTS
from tests.lab.alerts.firing import Told, receiver, seconds_to_page
from tests.lab.stack.conftest import Stack
from tests.unit.roles.test_alerts import ALERTS

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def told(stack: Stack) -> Iterator[Told]:
    with receiver(stack.lab) as listening:
        yield listening


def test_every_page_has_a_fault_that_causes_it_or_a_reason_why_not() -> None:
    pages = {name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
    assert set(FAULTS) | set(ELSEWHERE) == pages


@pytest.mark.parametrize("alert", ["WorkerDown", "QuestionUnanswered"])
def test_a_fault_is_told_within_a_minute(stack: Stack, told: Told, alert: str) -> None:
    assert seconds_to_page(stack.lab, told, alert) <= 60


def test_the_switch_hears_every_minute_that_alerting_works_and_nothing_when_it_does_not(told: Told) -> None:
    begun = time.time()
    told.wait("Watchdog", "firing", begun, patience_s=75)
    told.ask("systemctl stop prometheus-alertmanager")
    try:
        silent = time.time()
        time.sleep(75)
        assert [one for one in told.alerts() if one["at"] > silent] == []
    finally:
        told.ask("systemctl start prometheus-alertmanager")
