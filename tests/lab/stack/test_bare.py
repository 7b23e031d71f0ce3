"""`site.yml` on a bare VM, before anything is on it."""

from __future__ import annotations

import pytest

from lab.lab import Lab
from tests.lab.stack.conftest import play

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("app_web_workers=many", "app_web_workers"),
        ("app_active_colour=red", "app_active_colour"),
        ("{app_secrets: {}}", "secret_key"),
        ("preflight_min_memory_mib=1000000", "memory"),
    ],
)
def test_a_wrong_variable_stops_the_run_before_anything_is_touched(bare_lab: Lab, setting: str, told: str) -> None:
    refused = play(bare_lab, "site.yml", "-e", setting)
    assert refused.returncode != 0
    plays = refused.stdout.split("PLAY [")
    assert plays[-1].startswith("Preflight]"), plays[-1]
    assert told in plays[-1]
    assert not [line for line in plays[-1].splitlines() if line.startswith("changed:")]


def test_check_mode_tells_what_would_be_done(bare_lab: Lab) -> None:
    checked = play(bare_lab, "site.yml", "--check", "--diff")
    assert checked.returncode == 0, f"check mode on a bare host failed:\n{checked.stdout[-4000:]}"
    assert bare_lab.hosts[0].execute("sh", "-c", "ls /opt") == ""
