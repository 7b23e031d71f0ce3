"""What the alert rules say, so that a panel turns red where its alert does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

RULES = Path(__file__).resolve().parents[1] / "roles/prometheus/files/rules"
COMPARISONS = (">", ">=", "<", "<=")


@dataclass(frozen=True, slots=True)
class Limit:
    """Where an alert begins; ``below``: it is the small values that are bad."""

    value: float
    below: bool
    severity: str


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Every alert rule by its name."""
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


@cache
def records() -> frozenset[str]:
    """Names of all recorded series."""
    return frozenset(rule["record"] for rule in _rules() if "record" in rule)


def limit(alert: str) -> Limit:
    """The number that the alert's expression first compares with, in that expression's unit.

    Raises:
        ValueError: it compares with none.
    """
    rule = alerts()[alert]
    node = promql.parse(rule["expr"])
    while True:
        if isinstance(node, promql.ParenExpr):
            node = node.expr
        elif not isinstance(node, promql.BinaryExpr):
            raise ValueError(f"{alert} compares with no number at first")
        elif str(node.op) in COMPARISONS:
            return Limit(_number(node.rhs), str(node.op).startswith("<"), rule["labels"]["severity"])
        else:
            node = node.lhs


def _number(node: promql.Expr) -> float:
    if isinstance(node, promql.NumberLiteral):
        return node.val
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "*":
        return _number(node.lhs) * _number(node.rhs)
    raise ValueError(f"{node.prettify()} is no number")


def _rules() -> list[dict[str, Any]]:
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]
