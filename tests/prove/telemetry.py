"""What it costs to be watched: metrics, logs and traces on against all of them off."""

from __future__ import annotations

from tests.bench.telemetry import Cost
from tests.bench.telemetry import measure as costs
from tests.prove.scorecard import Figure

MOST = 0.05


def measure() -> list[Figure]:
    """Two services in turns, on this machine."""
    return [figure for cost in costs() for figure in _figures(cost)]


def _figures(cost: Cost) -> list[Figure]:
    what = f"metrics, logs and traces on against off, {cost.kind} questions"
    return [
        Figure(f"throughput lost: {what}", "≤ 5 %", f"{cost.throughput:.1%}", cost.throughput <= MOST),
        Figure(f"p95 gained: {what}", "≤ 5 %", f"{cost.p95:.1%}", cost.p95 <= MOST),
        Figure(f"processor's time gained: {what}", "-", f"{cost.cpu:.1%}", True),
    ]
