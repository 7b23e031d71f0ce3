"""The same rules in a hurry, so that an alert which waits for hours can be seen to arrive in a test.

Only durations are shortened: how long an expression must hold, and the windows over which it looks. Selectors,
thresholds, labels, horizons of predictions and what Alertmanager holds back stay: the metrics and their labels are the
exporters' own.
"""

from __future__ import annotations

import copy
import re
from typing import Any

# Four looks at the targets. Windows of a day and more stay longer than those of hours, as rules compare the two.
WINDOW_S, DAYS_WINDOW_S = 40, 120
HOLD_S = 10
DAY_S = 86_400
UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S, "y": 365 * DAY_S}
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_WINDOW = re.compile(rf"(?<=\[){_DURATION}(?=[\]:])")
_OFFSET = re.compile(rf"(?<=\boffset ){_DURATION}")
# What Alertmanager waits for: before it tells, before it tells of a change, and before it says the same again.
_GROUPING = {"group_wait": "1s", "group_interval": "5s", "repeat_interval": "15s"}


def seconds(duration: str) -> float:
    """A duration as Prometheus writes it, such as ``1h30m``."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", duration)
    return sum(int(number) * UNITS_S[unit] for number, unit in parts)


def hurried(rules: dict[str, Any]) -> dict[str, Any]:
    """A rule file, as parsed, with its durations shortened; the given one is left as it is."""
    result = copy.deepcopy(rules)
    for group in result["groups"]:
        # Without an interval of their own, all are evaluated as often as targets are looked at.
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = _OFFSET.sub(_shorter, _WINDOW.sub(_shorter, rule["expr"]))
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    rule[key] = f"{min(seconds(rule[key]), HOLD_S):g}s"
    return result


def hurried_alertmanager(configuration: str) -> str:
    """The text of Alertmanager's configuration with its waits shortened."""
    for name, wait in _GROUPING.items():
        configuration = re.sub(rf"(?<=\b{name}: ){_DURATION}", wait, configuration)
    return configuration


def _shorter(match: re.Match[str]) -> str:
    length = seconds(match[0])
    bound = DAYS_WINDOW_S if length >= DAY_S else WINDOW_S
    return match[0] if length <= bound else f"{bound}s"
