"""Which panels have data on a lab VM after some use."""

from __future__ import annotations

import ssl

import httpx

from lab.lab import Lab
from lab.up import HOST, bring_up, play, service
from tests.lab.dashboards import dashboards, panels, something_of_all, until_all_have_data
from tests.prove.scorecard import Figure

SECONDS = 180


def measure() -> list[Figure]:
    """Every query of every panel, as Grafana would ask it of the host's Prometheus."""
    lab = Lab("prove-dashboards")
    lab.down()
    try:
        bring_up(lab)
        play(lab, "site.yml")
        return [_figure(lab)]
    finally:
        lab.down()


def _figure(lab: Lab) -> Figure:
    host, at = lab.host(HOST), service(lab)

    def ask(command: str) -> str:
        return host.execute("sh", "-c", command, root=True)

    context = ssl.create_default_context(cafile=str(at.ca_file))
    headers = {"Authorization": f"Bearer {at.api_key}"}
    with (
        httpx.Client(base_url=at.url, headers=headers, verify=context, timeout=30) as client,
        something_of_all(ask, client),
    ):
        empty = {one.name for one in until_all_have_data(ask, SECONDS)}
    number = sum(1 for dashboard in dashboards().values() for _ in panels(dashboard))
    for name in sorted(empty):
        print(f"without data: {name}")  # noqa: T201
    return Figure("panels with data", "all", f"{number - len(empty)} of {number}", not empty)
