"""Every series of the service that a dashboard reads is one that `/metrics` has."""

from __future__ import annotations

import re

import promql_parser as promql

from tests.api.conftest import Running
from tests.lab.dashboards import PROMISED, queries

OURS = re.compile(r"anchorage_\w+|http_request\w+|active_sessions")
PART_OF_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")
# Written for the node exporter by roles that there are already.
BY_ROLES = {"anchorage_qdrant_collection_status"}


async def test_the_dashboards_read_what_the_service_tells(running: Running) -> None:
    told = (await running.client.get("/metrics")).text
    there = {*re.findall(r"^# TYPE (\w+) ", told, re.MULTILINE), *PROMISED, *BY_ROLES}
    read = {PART_OF_HISTOGRAM.sub("", name) for one in queries() for name in _names(one.expr) if OURS.fullmatch(name)}
    assert {"anchorage_queries_total", "anchorage_queue_oldest_seconds"} <= read
    assert read - there == set()


def _names(expr: str) -> set[str]:
    found: set[str] = set()

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector) and node.name:
            found.add(node.name)
        return True

    promql.walk(promql.parse(expr), pre_visit=visit)
    return found
