"""A difference as Ansible's modules tell it, in the form that people read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import unified_diff
from typing import Any


def as_unified_diff(told: Any) -> str:
    """Lines of `diff -u`; what a module prepared itself, or says in another form, stays as it is."""
    if not isinstance(told, Mapping):
        return str(told)
    if "prepared" in told:
        return str(told["prepared"])
    before, after = (_lines(told.get(side)) for side in ("before", "after"))
    names = [str(told.get(f"{side}_header") or side) for side in ("before", "after")]
    return "\n".join(unified_diff(before, after, *names, lineterm=""))


def _lines(value: Any) -> list[str]:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, indent=2, sort_keys=True)
    return text.splitlines()


class FilterModule:
    """What Ansible finds."""

    def filters(self) -> dict[str, Callable[[Any], str]]:
        """By name."""
        return {"drift_unified_diff": as_unified_diff}
