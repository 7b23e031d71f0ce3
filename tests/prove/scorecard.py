"""The figures that the docs promise, as rows of ``docs/scorecard.md``."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs/scorecard.md"
HEAD = """# Scorecard

Every figure that this project promises, as last measured. `make prove` measures all of them again, `make prove PART=…`
one part; each row says when, at which commit, and with what. Figures in seconds depend on the machine: these come
from 2 cores.

| what | promised | measured | met | part | commit | date |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured promise; ``measured`` is None when it could not be taken."""

    what: str
    promised: str
    measured: str
    met: bool


def write(part: str, figures: list[Figure]) -> None:
    """Put a part's rows in place of its former ones."""
    kept = [row for row in _rows() if row.split(" | ")[4] != part]
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    date = datetime.now(UTC).date().isoformat()
    for figure in figures:
        met = "yes" if figure.met else "**no**"
        kept.append(f"| {figure.what} | {figure.promised} | {figure.measured} | {met} | {part} | {commit} | {date} |")
    FILE.write_text(HEAD + "\n".join(sorted(kept, key=lambda row: row.split(" | ")[4])) + "\n")


def _rows() -> list[str]:
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return [line for line in lines if line.startswith("| ") and not line.startswith(("| what", "| ---"))]
