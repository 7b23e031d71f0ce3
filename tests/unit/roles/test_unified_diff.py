"""How the drift report shows a difference."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "roles/drift/filter_plugins/unified_diff.py"
spec = importlib.util.spec_from_file_location("unified_diff", SOURCE)
assert spec is not None
assert spec.loader is not None
unified_diff = importlib.util.module_from_spec(spec)
spec.loader.exec_module(unified_diff)
shown = unified_diff.as_unified_diff


def test_a_file_shows_its_lines_that_differ() -> None:
    told = {
        "before": "a\nb\n# by hand\n",
        "after": "a\nb\n",
        "before_header": "/etc/x.conf",
        "after_header": "x.conf.j2",
    }
    assert shown(told).splitlines() == ["--- /etc/x.conf", "+++ x.conf.j2", "@@ -1,3 +1,2 @@", " a", " b", "-# by hand"]


def test_a_state_shows_what_changes_in_it() -> None:
    lines = shown({"before": {"mode": "0644"}, "after": {"mode": "0600"}}).splitlines()
    assert '-  "mode": "0644"' in lines
    assert '+  "mode": "0600"' in lines


def test_what_a_module_prepared_stays() -> None:
    assert shown({"prepared": "+ package\n"}) == "+ package\n"
