"""A flood, from one address or with one key, stays at the edge; who asks at an ordinary pace is not held up."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from conftest import NAME, Edge
from testinfra.host import Host  # type: ignore[import-untyped]

pytestmark = pytest.mark.usefixtures("upstream")


def flood(host: Host, edge: Edge, count: int, header: str = "X-Nothing: 1") -> Counter[str]:
    """As many requests as one HTTP/2 connection takes at once, from the host's own address; counted by status."""
    asked = f"https://{NAME}/x?[1-{count}]"
    trusted = f"--cacert /etc/anchorage/tls/ca.crt --resolve {NAME}:443:{edge.address}"
    told = host.check_output(
        f"curl -s --parallel --parallel-max 100 {trusted} -H '{header}' -o /dev/null -w '%{{http_code}} ' '{asked}'"
    )
    return Counter(told.split())


def test_one_key_is_held_up_and_another_is_not(host: Host, edge: Edge) -> None:
    assert flood(host, edge, 60, "Authorization: Bearer first-key-of-the-test").keys() == {"200", "429"}
    assert flood(host, edge, 10, "Authorization: Bearer second-key-of-the-test") == {"200": 10}
    assert flood(host, edge, 60, "X-API-Key: third-key-of-the-test").keys() == {"200", "429"}


def test_one_address_is_held_up_and_may_come_back(host: Host, edge: Edge) -> None:
    found = flood(host, edge, 600)
    assert found.keys() == {"200", "429"}
    assert found["200"] >= 100
    time.sleep(3)
    assert flood(host, edge, 20) == {"200": 20}


def test_who_is_held_up_is_told_so(host: Host, edge: Edge) -> None:
    key = "Bearer fourth-key-of-the-test"
    flood(host, edge, 100, f"Authorization: {key}")
    answer = edge.get("/x", Authorization=key)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.content)["code"] == "rate_limited"
