"""Every alert says who should do what, has a page to go by, and is proven to fire and to stay quiet."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "roles/prometheus/files/rules").glob("*.yml"))
CASES = sorted((ROOT / "tests/alerts").glob("*.yml"))
RUNBOOKS = ROOT / "docs/runbooks"


def alerts() -> dict[str, dict[str, Any]]:
    rules = [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


ALERTS = alerts()


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_promtool_finds_each_case_as_expected(file: Path) -> None:
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_and_says_what_is_wrong_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "warn", "info")
    assert rule["labels"]["component"]
    said = rule["annotations"]
    assert 10 <= len(said["summary"]) <= 120
    assert said["description"].count(". ") >= 1, "what it is, for whom, what to do"
    assert said["runbook_url"] == f"docs/runbooks/{name}.md"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_runbook_of_one_shape(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == ["Who suffers", "Look", "Do", "It is over when"]
    assert "\n    " in page, "no command to run"


def test_no_runbook_is_for_an_alert_that_is_gone() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == set(ALERTS)


def cases(name: str) -> set[bool]:
    """What the cases in tests/alerts find of an alert at their moments: that it fires, that it does not."""
    found = set()
    for file in CASES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            moments = [{sample["labels"] for sample in check["exp_samples"]} for check in case["promql_expr_test"]]
            among = [f'{{alertname="{name}"}}' in moment for moment in moments]
            found |= {True} if any(among) else set()
            found |= {False} if name in case["name"] and not all(among) else set()
    return found


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_seen_to_fire_and_to_stay_quiet(name: str) -> None:
    """In a case that names it: at one moment it is among what fires, at another one it is not."""
    # The dead man's switch is there to fire always.
    assert cases(name) >= ({True} if name == "Watchdog" else {True, False}), f"no such case of {name} in tests/alerts"


def test_a_page_arrives_within_a_minute_unless_its_budget_burns_for_longer() -> None:
    """Two looks of 10 s, the patience of the rule, Alertmanager's 5 s and the way."""
    patience = {name: rule.get("for", "0s") for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
    assert {name for name, wait in patience.items() if wait not in ("0s", "20s")} == set()


def test_a_page_and_its_warning_have_the_same_concern() -> None:
    """Alertmanager then says the worse one only."""
    by_concern: dict[str, set[str]] = {}
    for rule in ALERTS.values():
        if "concern" in rule["labels"]:
            by_concern.setdefault(rule["labels"]["concern"], set()).add(rule["labels"]["severity"])
    assert {concern for concern, severities in by_concern.items() if severities != {"page", "warn"}} == set()
