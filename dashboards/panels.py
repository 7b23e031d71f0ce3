"""The forms of panels, and their units. Every dashboard is made of these, so that all look and behave alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards import rules

COUNT, RATIO, SECONDS, AGO = "short", "percentunit", "s", "dateTimeFromNow"
PER_SECOND, REQUESTS, BYTES, BYTES_PER_SECOND, DOLLARS = "cps", "reqps", "bytes", "binBps", "currencyUSD"
COLOURS = {"warn": "orange", "page": "red"}
GOOD, BAD, QUIET = "green", "red", "text"
JUST_ABOVE = 1e-6
# What the role `grafana` replaces by where the runbooks can be read.
RUNBOOKS = "docs/runbooks"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${source}")
# The same panel as a builder of Grafana's JSON.
Panel = bargauge.Panel | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel
P = TypeVar("P", bargauge.Panel, stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and how its series are named. ``now``: its last value alone; ``traces``: with links to example traces."""

    expr: str
    legend: str = ""
    now: bool = False
    traces: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """What a panel says of itself.

    ``alerts`` give it their limits, each in the alert's unit times ``scale``, and links to their runbooks; ``runbooks``
    are alerts whose limit is no line in this panel, and ``bad_below`` a limit that no alert's rule has as a number.
    ``more`` is the dashboard that knows more.
    """

    title: str
    description: str
    unit: str
    alerts: Sequence[str] = ()
    scale: float = 1.0
    runbooks: Sequence[str] = ()
    bad_below: float | None = None
    more: str = ""

    @property
    def limits(self) -> list[rules.Limit]:
        """In the panel's unit, the smallest first."""
        found = [rules.limit(alert) for alert in self.alerts]
        scaled = [replace(one, value=round(one.value * self.scale, 6)) for one in found]
        if self.bad_below is not None:
            scaled.append(rules.Limit(self.bad_below, below=True, severity="page"))
        return sorted(scaled, key=lambda one: one.value)


def number(about: About, query: Query, *, width: int = 4) -> stat.Panel:
    """One value, or one of each series, large."""
    panel = (
        stat.Panel().height(4).graph_mode(kinds.BigValueGraphMode.NONE if query.now else kinds.BigValueGraphMode.AREA)
    )
    mode = kinds.BigValueColorMode.VALUE if about.limits else kinds.BigValueColorMode.NONE
    panel.color_mode(mode).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.text_mode(kinds.BigValueTextMode.VALUE_AND_NAME if query.legend else kinds.BigValueTextMode.VALUE)
    return _described(panel, about, [query], width)


def lines(
    about: About, *queries: Query, width: int = 12, stacked: bool = False, most: float | None = None
) -> timeseries.Panel:
    """Values over time, from 0; limits of alerts are dashed lines."""
    panel = timeseries.Panel().height(8).min(0).fill_opacity(20 if stacked else 8).line_width(1)
    panel.show_points(kinds.VisibilityMode.NEVER)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    if most is not None:
        panel.max(most)
    if about.limits:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED))
    return _described(panel, about, queries, width)


def states(
    about: About, *queries: Query, meaning: Mapping[int, tuple[str, str]], width: int = 12
) -> statetimeline.Panel:
    """What something was when; ``meaning`` is the text and colour of each value."""
    mapped = {str(value): model.ValueMappingResult(text, colour) for value, (text, colour) in meaning.items()}
    panel = statetimeline.Panel().height(8).mappings([model.ValueMap(mapped)]).show_value(kinds.VisibilityMode.NEVER)
    panel.row_height(0.8).legend(common.VizLegendOptions().show_legend(False))
    return _described(panel, about, queries, width)


UP: Mapping[int, tuple[str, str]] = {0: ("down", BAD), 1: ("up", GOOD)}


def bars(about: About, query: Query, *, width: int = 12, most: float | None = None) -> bargauge.Panel:
    """The last value of each series beside the others."""
    panel = bargauge.Panel().height(8).orientation(kinds.VizOrientation.HORIZONTAL).min(0)
    panel.display_mode(kinds.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if most is not None:
        panel.max(most)
    return _described(panel, about, [query], width)


def rows(about: About, query: Query, *, columns: Mapping[str, str], width: int = 12, link: str = "") -> table.Panel:
    """A row a series; ``columns`` are its labels (and Value) with their headings. ``link`` is where the first leads."""
    hidden = model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
    named = model.DataTransformerConfig(
        id_val="organize",
        options={"renameByName": dict(columns), "indexByName": {name: at for at, name in enumerate(columns)}},
    )
    panel = table.Panel().height(8).transformations([hidden, named])
    if link:
        address = {"title": "Runbook", "url": link, "targetBlank": True}
        panel.override_by_name(next(iter(columns.values())), [model.DynamicConfigValue("links", [address])])
    return _described(panel, about, [query], width, table_of=True)


def _described(panel: P, about: About, queries: Sequence[Query], width: int, *, table_of: bool = False) -> P:
    """What all forms share."""
    panel.title(about.title).description(about.description).unit(about.unit).span(width).datasource(SOURCE)
    for number_, query in enumerate(queries):
        panel.with_target(_target(query, chr(ord("A") + number_), table_of=table_of))
    panel.thresholds(_steps(about.limits))
    scheme = (
        model.FieldColorModeId.PALETTE_CLASSIC
        if isinstance(panel, timeseries.Panel)
        else model.FieldColorModeId.THRESHOLDS
    )
    panel.color_scheme(build.FieldColor().mode(scheme))
    panel.links(_links(about))
    return panel


def _target(query: Query, letter: str, *, table_of: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE)
    target.legend_format(query.legend or "__auto")
    target.format(PromQueryFormat.TABLE if table_of else PromQueryFormat.TIME_SERIES)
    if query.traces:
        target.exemplar(True)
    return target.instant() if query.now else target.range()


def _steps(limits: Sequence[rules.Limit]) -> build.ThresholdsConfig:
    """Green where no alert is, else the colour of the severity; a colour holds from its value on."""
    severities = [COLOURS[one.severity] for one in limits]
    # What must be above 0 is not 0 itself.
    bounds = [JUST_ABOVE if one.value == 0 and not one.below else one.value for one in limits]
    if not limits:
        colours = [QUIET]
    elif limits[0].below:
        colours = [*severities, GOOD]
    else:
        colours = [GOOD, *severities]
    steps = [model.Threshold(bound, colour) for bound, colour in zip([None, *bounds], colours, strict=True)]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _links(about: About) -> list[Builder[model.DashboardLink]]:
    links: list[Builder[model.DashboardLink]] = [
        build.DashboardLink(f"Runbook: {alert}").url(f"{RUNBOOKS}/{alert}.md").target_blank(True)
        for alert in (*about.alerts, *about.runbooks)
    ]
    if about.more:
        # The name is that of the dashboard's module; its address is the uid.
        links.append(build.DashboardLink(f"Dashboard: {about.more}").url(f"/d/anchorage-{about.more}"))
    return links
