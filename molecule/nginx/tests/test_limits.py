"""A flood, from one address or with one key, stays at the edge; who asks at an ordinary pace is not held up."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from conftest import NAME, Edge
from testinfra.host import Host  # type: ignore[import-untyped]

# What the limits let through is refused by nginx itself: the service behind it has no part in this.
PATH, REFUSED, LIMITED = "/metrics", 403, 429


def flood(host: Host, edge: Edge, count: int, header: str = "X-Nothing: 1") -> list[dict[str, Any]]:
    """What curl has to say of as many requests, made at once over HTTP/2 from the host's own address."""
    trusted = f"--cacert /etc/anchorage/tls/ca.crt --resolve {NAME}:443:{edge.address}"
    told = host.check_output(
        f"curl -s --parallel --parallel-max 100 {trusted} -H '{header}' -w '%{{json}}\\n' "
        f"-o '/tmp/flood-#1' 'https://{NAME}{PATH}?[1-{count}]'"
    )
    return [json.loads(line) for line in told.splitlines()]


def statuses(answers: list[dict[str, Any]]) -> Counter[int]:
    return Counter(answer["http_code"] for answer in answers)


def test_one_key_is_held_up_and_another_is_not(host: Host, edge: Edge) -> None:
    assert statuses(flood(host, edge, 60, "Authorization: Bearer first-key-of-the-test")).keys() == {REFUSED, LIMITED}
    assert statuses(flood(host, edge, 10, "Authorization: Bearer second-key-of-the-test")) == {REFUSED: 10}
    assert statuses(flood(host, edge, 60, "X-API-Key: third-key-of-the-test")).keys() == {REFUSED, LIMITED}


def test_one_address_is_held_up_and_may_come_back(host: Host, edge: Edge) -> None:
    # What the tests before have sent is forgotten.
    time.sleep(3)
    found = statuses(flood(host, edge, 600))
    assert found.keys() == {REFUSED, LIMITED}
    assert found[REFUSED] >= 100
    time.sleep(3)
    assert statuses(flood(host, edge, 20)) == {REFUSED: 20}


def test_who_is_held_up_is_told_so(host: Host, edge: Edge) -> None:
    told = flood(host, edge, 60, "Authorization: Bearer fourth-key-of-the-test")
    limited = next(answer for answer in told if answer["http_code"] == LIMITED)
    assert limited["content_type"] == "application/problem+json"
    problem = json.loads(host.check_output(f"cat {limited['filename_effective']}"))
    assert (problem["status"], problem["code"]) == (LIMITED, "rate_limited")
    trusted = f"--cacert /etc/anchorage/tls/ca.crt --resolve {NAME}:443:{edge.address}"
    key = "-H 'Authorization: Bearer fourth-key-of-the-test'"
    headers = host.check_output(f"curl -s -o /dev/null -D - {trusted} {key} 'https://{NAME}{PATH}?[1-3]'")
    assert "retry-after: 1" in headers.lower()
