"""The dashboards as files: what every panel must have, and that code and files agree."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from dashboards import rules
from dashboards.__main__ import TARGET, write
from tests.lab.dashboards import Asked, dashboards, panels, queries

ROOT = Path(__file__).resolve().parents[3]
BOARDS = dashboards()
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}") for name, board in BOARDS.items() for panel in panels(board)
]
QUERIES = [pytest.param(one, id=one.name) for one in queries()]
SOURCE = {"type": "prometheus", "uid": "${source}"}


def selectors(expr: str) -> list[promql.VectorSelector]:
    """Every series that an expression reads."""
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        return True

    promql.walk(promql.parse(expr), pre_visit=visit)
    return found


def test_the_files_are_what_the_code_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in TARGET.iterdir()}
    assert made == kept, "run `python -m dashboards` and commit what it writes"


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_the_data_source_that_was_chosen(panel: dict[str, Any]) -> None:
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [SOURCE] * (
        1 + len(panel["targets"])
    )


@pytest.mark.parametrize("asked", QUERIES)
def test_a_query_is_promql_and_names_no_host(asked: Asked) -> None:
    # Grafana's variables are filled in; what is left is a group of label_replace.
    assert "$" not in asked.expr.replace('"$1"', "")
    for selector in selectors(asked.expr):
        names = {matcher.name for matcher in selector.matchers.matchers if matcher.op == promql.MatchOp.Equal}
        assert not names & {"instance", "host"}


@pytest.mark.parametrize("asked", QUERIES)
def test_a_recorded_series_is_one_that_a_rule_records(asked: Asked) -> None:
    recorded = {selector.name for selector in selectors(asked.expr) if ":" in (selector.name or "")}
    assert recorded <= rules.records()


def test_names_and_numbers_are_given_once() -> None:
    assert Counter(board["uid"] for board in BOARDS.values()).most_common(1)[0][1] == 1
    assert Counter(board["title"] for board in BOARDS.values()).most_common(1)[0][1] == 1
    for name, board in BOARDS.items():
        ids = [panel["id"] for panel in board["panels"]]
        assert ids == sorted(set(ids)), name
        assert board["uid"] == f"anchorage-{name}"


@pytest.mark.parametrize("name", BOARDS)
def test_panels_fill_the_page_and_none_lies_on_another(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for one, other in pairwise(places):
        beside = other["y"] == one["y"] and other["x"] == one["x"] + one["w"]
        below = other["x"] == 0 and one["x"] + one["w"] == 24 and other["y"] == one["y"] + one["h"]
        assert beside or below, (one, other)


@pytest.mark.parametrize("panel", PANELS)
def test_links_lead_to_a_runbook_or_a_dashboard_that_is_there(panel: dict[str, Any]) -> None:
    pages = {f"/d/{board['uid']}" for board in BOARDS.values()}
    for link in panel["links"]:
        assert link["url"] in pages or (ROOT / link["url"]).is_file(), link["url"]


@pytest.mark.parametrize(
    ("alert", "limit"),
    [
        ("CpuBusy", rules.Limit(0.8, below=False, severity="warn")),
        ("DiskFull", rules.Limit(0.05, below=True, severity="page")),
        ("AvailabilityBurnsFast", rules.Limit(0.0144, below=False, severity="page")),
        ("DrillOld", rules.Limit(8 * 86400, below=False, severity="warn")),
    ],
)
def test_the_limit_of_an_alert_is_read_from_its_rule(alert: str, limit: rules.Limit) -> None:
    found = rules.limit(alert)
    assert found.value == pytest.approx(limit.value)
    assert (found.below, found.severity) == (limit.below, limit.severity)


def test_an_alert_without_a_number_has_no_limit() -> None:
    with pytest.raises(ValueError, match="UnitFailed compares with no number"):
        rules.limit("UnitFailed")


def _steps(title: str, name: str) -> list[tuple[float | None, str]]:
    panel = next(panel for panel in panels(BOARDS[name]) if panel["title"] == title)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [(step["value"], step["color"]) for step in steps]


@pytest.mark.parametrize(
    ("name", "title", "steps"),
    [
        ("overview", "p95 of questions", [(None, "green"), (2, "orange"), (8, "red")]),
        ("overview", "Availability budget: burn rate", [(None, "green"), (3, "orange"), (6, "red"), (14.4, "red")]),
        ("nginx", "Certificate's time left", [(None, "red"), (604800, "orange"), (1814400, "green")]),
        ("hosts", "Inodes left", [(None, "orange"), (0.1, "green")]),
        ("ingestion", "Given up", [(None, "green"), (1e-6, "orange")]),
        ("rag", "Questions", [(None, "text")]),
    ],
)
def test_a_panel_changes_its_colour_where_its_alert_does(
    name: str, title: str, steps: list[tuple[float | None, str]]
) -> None:
    assert _steps(title, name) == steps
