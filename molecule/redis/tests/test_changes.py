"""What a changed variable does, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ask import PASSWORD, ask, converge, fields, wait_until_ready
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://redis13"]


def test_the_password_can_be_changed_and_the_data_stays(host: Host) -> None:
    ask(host, "SET kept password")
    done = converge(host, redis_password="another-redis-password")  # noqa: S106
    assert done.returncode == 0, done.stdout
    assert "another-redis-password" not in done.stdout
    assert ask(host, "GET kept", password="another-redis-password") == "password"  # noqa: S106
    assert "NOAUTH" in ask(host, "PING", password=PASSWORD)
    assert converge(host).returncode == 0
    wait_until_ready(host)


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("empty password", {"redis_password": ""}, "redis_password has 0 characters"),
    ("short password", {"redis_password": "short"}, "redis_password has 5 characters"),
    ("policy", {"redis_maxmemory_policy": "lru"}, "value of redis_maxmemory_policy must be one of"),
    ("too little memory", {"redis_maxmemory_mb": 1}, "redis_maxmemory_mb 1"),
    ("socket elsewhere", {"redis_unix_socket": "/tmp/redis.sock"}, "expected a file in /run/redis"),  # noqa: S108
    ("not an address", {"redis_bind_addresses": ["everywhere"]}, "redis_bind_addresses is ['everywhere']"),
    ("snapshots", {"redis_save": [[300]]}, "redis_save has [300]"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(host: Host, variables: dict[str, Any], message: str) -> None:
    before = fields(host, "server")["run_id"]
    done = converge(host, **variables)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert message in output
    assert PASSWORD not in output
    assert fields(host, "server")["run_id"] == before
