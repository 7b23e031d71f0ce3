"""A dashboard of panels: what all of them share, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.panels import SOURCE, Panel

TAG = "anchorage"
# Of Grafana's own for what people note by hand.
NOTES = {
    "name": "Notes",
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "iconColor": "blue",
    "builtIn": 1,
    "hide": True,
    "type": "dashboard",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A list at the top to choose from: the values of a label of a series."""

    name: str
    title: str
    series: str
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What is marked on every graph: each time at which ``expr`` has a value."""

    name: str
    expr: str
    title: str
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading; the first row of a dashboard has none."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard; ``name`` is its module's and its file's, and in its uid."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    choices: Sequence[Choice] = ()
    span: str = "now-6h"


MARKS = (
    Mark("Deploys", "anchorage_deploy_in_progress == 1", "Deploy", "A new release is put in service.", "purple"),
    Mark("Pages", 'ALERTS{alertstate="firing",severity="page"}', "{{alertname}}", "{{instance}} {{component}}", "red"),
)


def host_with(series: str) -> Choice:
    """The hosts that have this series, as ``$host``."""
    return Choice("host", "Host", series, "instance")


def as_json(board: Board) -> str:
    """The file that Grafana reads; the same board gives the same text."""
    builder = (
        build.Dashboard(board.title)
        .uid(f"{TAG}-{board.name}")
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .time(board.span, "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables([_source(), *(_variable(choice) for choice in board.choices)])
        .link(_menu())
    )
    for row in board.rows:
        if row.title:
            builder.with_row(build.Row(row.title))
        for panel in row.panels:
            builder.with_panel(panel)
    content = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    for number, panel in enumerate(content["panels"], start=1):
        panel["id"] = number
    content["annotations"] = {"list": [NOTES, *(_annotation(mark) for mark in MARKS)]}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _source() -> build.DatasourceVariable:
    """No dashboard names a data source: it takes the one that is chosen, at first the default."""
    return build.DatasourceVariable("source").label("Metrics").type("prometheus")


def _variable(choice: Choice) -> build.QueryVariable:
    return (
        build.QueryVariable(choice.name)
        .label(choice.title)
        .datasource(SOURCE)
        .query({"query": f"label_values({choice.series}, {choice.label})", "refId": choice.name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(model.VariableOption(text=["All"], value=["$__all"], selected=True))
    )


def _menu() -> build.DashboardLink:
    """The other dashboards, with the same time and choices."""
    link = build.DashboardLink("Dashboards").type(model.DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return link.include_vars(True).keep_time(True)


def _annotation(mark: Mark) -> dict[str, Any]:
    """The SDK's form of these lacks what Prometheus' queries need."""
    return {
        "name": mark.name,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "enable": True,
        "hide": False,
        "iconColor": mark.colour,
        "expr": mark.expr,
        "step": "30s",
        "titleFormat": mark.title,
        "textFormat": mark.text,
        "tagKeys": "",
        "useValueForTime": False,
    }
