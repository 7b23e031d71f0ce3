"""Every alert has a fault that causes it in the lab, and the hurry in which it is awaited changes durations only."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.lab.alerts.faults import AS_THEY_ARE, BUDGETS, ELSEWHERE, FAULTS, HURRIED
from tests.lab.alerts.hurried import hurried, hurried_alertmanager, seconds
from tests.lab.alerts.runbook import DO, LOOK, OVER, RUNBOOKS, blanks, commands
from tests.unit.roles.test_alerts import ALERTS, RULES

WINDOW = re.compile(r"\[([^\]]+)\]")


def test_every_alert_has_a_fault_that_causes_it_or_a_reason_why_not() -> None:
    assert not set(FAULTS) & set(ELSEWHERE)
    assert set(FAULTS) | set(ELSEWHERE) == set(ALERTS)
    assert len(ELSEWHERE) <= 1


def test_every_fault_is_caused_once() -> None:
    caused = Counter([*AS_THEY_ARE, *(alert for batch in HURRIED for alert in batch)])
    assert caused == Counter(FAULTS.keys())


def test_every_page_is_timed_with_the_rules_as_they_are() -> None:
    pages = {alert for alert, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
    assert pages == {*AS_THEY_ARE, *(alert for alerts in BUDGETS for alert in alerts)}


def test_what_is_caused_at_once_does_not_hold_back_one_another() -> None:
    """As Alertmanager would: a cause its symptoms, and a page the warning of its concern."""
    for batch in HURRIED:
        labels = [ALERTS[alert]["labels"] for alert in batch]
        layers = {label.get("layer") for label in labels}
        assert not {"cause", "symptom"} <= layers, batch
        for page in (label for label in labels if label["severity"] == "page" and "concern" in label):
            assert not [one for one in labels if one["severity"] == "warn" and one.get("concern") == page["concern"]], (
                batch
            )


@pytest.mark.parametrize("alert", sorted(FAULTS))
def test_what_a_runbook_leaves_blank_the_fault_can_fill(alert: str) -> None:
    page = (RUNBOOKS / f"{alert}.md").read_text()
    lines = [line for section in (LOOK, DO, OVER) for line in commands(page, section)]
    assert commands(page, LOOK), "nowhere to look"
    assert {blank for line in lines for blank in blanks(line)} <= set(FAULTS[alert].fills)


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_hurried_rules_differ_in_durations_only(file: Any) -> None:
    """With all durations masked both are the same; and none is longer than it was, or too short to see anything."""
    given = yaml.safe_load(file.read_text())
    result = hurried(given)
    assert _masked(result) == _masked(given)
    for before, after in zip(_rules(given), _rules(result), strict=True):
        for old, new in zip(WINDOW.findall(before["expr"]), WINDOW.findall(after["expr"]), strict=True):
            assert seconds(new) <= min(seconds(old), 120)
            assert seconds(new) >= min(seconds(old), 40), "not four looks at the targets"
        assert seconds(after.get("for", "0s")) <= min(seconds(before.get("for", "0s")), 10)


def test_a_window_of_a_day_stays_longer_than_one_of_an_hour() -> None:
    rules = {
        "groups": [
            {"name": "a", "rules": [{"alert": "A", "expr": "rate(a[1h]) < rate(a[1d] offset 1w)", "for": "1h30m"}]}
        ]
    }
    (rule,) = _rules(hurried(rules))
    assert rule == {"alert": "A", "expr": "rate(a[40s]) < rate(a[120s] offset 120s)", "for": "10s"}


def test_the_horizon_of_a_prediction_and_every_threshold_stay() -> None:
    rules = {
        "groups": [{"name": "a", "rules": [{"alert": "A", "expr": "predict_linear(a[6h], 86400) < 0 and a > 3600"}]}]
    }
    assert _rules(hurried(rules))[0]["expr"] == "predict_linear(a[40s], 86400) < 0 and a > 3600"


def test_alertmanager_in_a_hurry_waits_less_and_holds_back_the_same() -> None:
    given = "  group_wait: 30s\n  group_interval: 5m\n  repeat_interval: 1h30m\ninhibit_rules:\n  - equal: [instance]\n"
    assert hurried_alertmanager(given) == (
        "  group_wait: 1s\n  group_interval: 5s\n  repeat_interval: 15s\ninhibit_rules:\n  - equal: [instance]\n"
    )


def _rules(file: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in file["groups"] for rule in group["rules"]]


def _masked(file: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule | {"expr": WINDOW.sub("[]", rule["expr"]), "for": "for" in rule} for rule in _rules(file)]
