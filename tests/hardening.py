"""What docs/hardening.md allows, and what a host says: the exposure of each unit, and lynis' findings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote

DOCUMENT = Path(__file__).parents[1] / "docs/hardening.md"
# What a host's root answers to a command line.
Ask = Callable[[str], str]
REPORT = "/var/log/lynis-report.dat"
# What lynis can't judge on a lab host.
LAB_PROFILE = Path(__file__).parent / "lab/lynis.prf"


@dataclass(frozen=True, slots=True)
class Bound:
    """Units, as a pattern, and the most exposure that `systemd-analyze security` may find in them (0 to 10)."""

    pattern: str
    most: float
    reason: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What lynis found: its hardening index (0 to 100), and the tests that had something to say."""

    index: int
    findings: frozenset[str]


def bounds() -> list[Bound]:
    """The table of units."""
    return [Bound(name, float(most), reason) for name, most, reason in _rows("unit")]


def accepted_findings() -> dict[str, str]:
    """The table of findings that stay: lynis' test, and the reason."""
    return {test: reason for test, _, reason in _rows("test")}


def _rows(first_column: str) -> list[tuple[str, str, str]]:
    """The rows of the table whose first column has this name; its first cell without its quotes."""
    _, _, table = DOCUMENT.read_text().partition(f"\n| {first_column} |")
    rows = table.split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [(name.strip("` "), second, third) for name, second, third in cells]


def services(ask: Ask) -> set[str]:
    """Services of the host: those that run, and those that its timers start."""
    running = ask("systemctl list-units --type=service --state=running --plain --no-legend --no-pager")
    timed = ask("systemctl show --property=Triggers --value '*.timer'")
    return {line.split()[0] for line in running.splitlines()} | set(timed.split())


def exposures(ask: Ask, units: set[str]) -> dict[str, float]:
    """Exposure of each unit, as `systemd-analyze security` finds it; RuntimeError when it says nothing of one."""
    told = ask(f"systemd-analyze security --no-pager {' '.join(sorted(units))}")
    found = re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", told)
    if silent := units - {unit for unit, _ in found}:
        raise RuntimeError(f"systemd-analyze says nothing of {', '.join(sorted(silent))}")
    return {unit: float(level) for unit, level in found}


def without_floor(ask: Ask, units: set[str]) -> set[str]:
    """Units on which even what every service of a host gets does not hold."""
    told = ask(f"systemctl show --property=Id,LockPersonality,SystemCallArchitectures {' '.join(sorted(units))}")
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in told.strip().split("\n\n")]
    return {
        block["Id"]
        for block in blocks
        if (block["LockPersonality"], block["SystemCallArchitectures"]) != ("yes", "native")
    }


def breaches(found: dict[str, float]) -> list[str]:
    """What exceeds its bound, or has none, in words."""
    said = []
    for unit, level in sorted(found.items()):
        bound = next((bound for bound in bounds() if fnmatchcase(unit, bound.pattern)), None)
        if bound is None:
            said.append(f"{unit} ({level}) has no bound in {DOCUMENT.name}")
        elif level > bound.most:
            said.append(f"{unit} has {level}, more than {bound.most}")
    return said


def audit(ask: Ask) -> Audit:
    """Install lynis on a lab host and run it."""
    ask("apt-get install --yes --quiet --no-install-recommends lynis")
    ask(f"echo {quote(LAB_PROFILE.read_text())} > /etc/lynis/custom.prf")
    ask("lynis audit system --quick --no-colors --quiet")
    report = ask(f"cat {REPORT}")
    index = re.search(r"^hardening_index=(\d+)$", report, re.MULTILINE)
    if index is None:
        raise RuntimeError(f"lynis left no index in {REPORT}")
    findings = re.findall(r"^(?:suggestion|warning)\[\]=([A-Z]+-\d+)\|", report, re.MULTILINE)
    return Audit(int(index[1]), frozenset(findings))
