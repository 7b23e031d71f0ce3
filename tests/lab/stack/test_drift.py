"""`playbooks/drift.yml` finds what somebody changed on a host by hand, and tells it to the monitoring."""

from __future__ import annotations

import time

import pytest

from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab
METRICS = "/var/lib/prometheus/node-exporter/anchorage_drift.prom"
TOUCHED = "/etc/redis/redis.conf"


def test_a_host_as_provisioned_shows_no_drift_and_a_touched_one_does(stack: Stack) -> None:
    calm = stack.play("playbooks/drift.yml")
    assert calm.returncode == 0, calm.stdout[-4000:]
    assert f'anchorage_drift_changes{{host="{stack.host.name}"}} 0' in stack.ask(f"cat {METRICS}")
    stack.ask(f"cp -p {TOUCHED} /root/; echo '# by hand' >> {TOUCHED}")
    try:
        found = stack.play("playbooks/drift.yml")
        assert found.returncode != 0
        told = stack.ask(f"cat {METRICS}")
        report = stack.ask("cat /var/log/anchorage/drift.txt")
        # Looking changes nothing.
        assert "# by hand" in stack.ask(f"cat {TOUCHED}")
    finally:
        stack.ask(f"cp -p /root/redis.conf {TOUCHED}")
    assert "redis : Configuration" in found.stdout
    changes = next(line for line in told.splitlines() if line.startswith("anchorage_drift_changes"))
    assert int(changes.split()[1]) >= 1
    last = next(line for line in told.splitlines() if line.startswith("anchorage_drift_last_run"))
    assert abs(float(last.split()[1]) - time.time()) < 300
    assert "-# by hand" in report


def test_a_run_that_breaks_off_is_no_good_news(stack: Stack) -> None:
    before = stack.ask(f"cat {METRICS}")
    broken = stack.play("playbooks/drift.yml", "-e", '{"drift_options": ["-e", "app_active_colour=red"]}')
    assert broken.returncode != 0
    assert "did not come to its end" in broken.stdout
    assert stack.ask(f"cat {METRICS}") == before
