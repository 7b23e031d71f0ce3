"""`playbooks/status.yml`: one screen, a status for scripts."""

from __future__ import annotations

import pytest

from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab


def test_what_is_wrong_comes_first_and_ends_with_a_status(stack: Stack) -> None:
    calm = stack.play("playbooks/status.yml")
    assert calm.returncode == 0, calm.stdout[-4000:]
    assert "BAD " not in calm.stdout
    for shown in ("nginx", "anchorage-worker", "redis-server", "qdrant", "disk /", "memory", "certificate edge.crt"):
        assert shown in calm.stdout
    stack.ask("systemctl stop anchorage-worker.service")
    try:
        wrong = stack.play("playbooks/status.yml")
    finally:
        stack.ask("systemctl start anchorage-worker.service")
    assert wrong.returncode != 0
    states = [line.split() for line in wrong.stdout.splitlines() if line.startswith(("BAD ", "warn ", "ok  "))]
    assert states[0][:3] == ["BAD", stack.host.name, "anchorage-worker"]
