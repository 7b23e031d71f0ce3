"""How long the project's own tests take."""

from __future__ import annotations

import subprocess
import time

from tests.prove.scorecard import ROOT, Figure


def measure() -> list[Figure]:
    """`make test` is one after the other."""
    fast, fast_passed = _timed("test-fast")
    slow, slow_passed = _timed("test-slow")
    whole, passed = fast + slow, fast_passed and slow_passed
    return [
        Figure("`make test-fast`", "≤ 3 min", f"{fast / 60:.1f} min", fast_passed and fast <= 180),
        Figure("`make test`", "≤ 15 min", f"{whole / 60:.1f} min", passed and whole <= 900),
    ]


def _timed(target: str) -> tuple[float, bool]:
    start = time.monotonic()
    done = subprocess.run(["make", target], cwd=ROOT, check=False)
    return time.monotonic() - start, done.returncode == 0
