"""A flood, from one address or with one key, stays at the edge; who asks at an ordinary pace is not held up."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

import httpx
import pytest
from conftest import NAME, Edge

pytestmark = pytest.mark.usefixtures("upstream")


async def flood(edge: Edge, count: int, **headers: str) -> list[httpx.Response]:
    """As many requests as the connections take, at once."""
    async with httpx.AsyncClient(
        base_url=f"https://{edge.address}", verify=edge.context(), timeout=60, trust_env=False
    ) as client:
        sent = {"Host": NAME, **headers}
        return await asyncio.gather(
            *(client.get("/x", headers=sent, extensions={"sni_hostname": NAME}) for _ in range(count))
        )


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_one_key_is_held_up_and_another_is_not(edge: Edge) -> None:
    answers = asyncio.run(flood(edge, 50, Authorization="Bearer first-key-of-the-test"))
    assert statuses(answers).keys() == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert json.loads(refused.content)["code"] == "rate_limited"
    assert statuses(asyncio.run(flood(edge, 10, Authorization="Bearer second-key-of-the-test"))) == {200: 10}
    assert statuses(asyncio.run(flood(edge, 50, **{"X-API-Key": "third-key-of-the-test"}))).keys() == {200, 429}


def test_one_address_is_held_up_and_may_come_back(edge: Edge) -> None:
    found = statuses(asyncio.run(flood(edge, 600)))
    assert found.keys() == {200, 429}
    assert found[200] >= 100
    time.sleep(3)
    assert statuses(asyncio.run(flood(edge, 20))) == {200: 20}
