"""What tools that others wrote find on a provisioned VM: systemd's exposure of each unit, lynis' index."""

from __future__ import annotations

from lab.lab import Lab
from lab.up import HOST, bring_up, play
from tests.hardening import accepted_findings, audit, bounds, breaches, exposures, services, without_floor
from tests.prove.scorecard import Figure

# The units that have a promise, and the most that each may have.
PROMISED = {
    "anchorage-app@*.service": 1.5,
    "anchorage-worker.service": 1.5,
    "nginx.service": 2.0,
    "redis-server.service": 2.0,
    "qdrant.service": 2.0,
    "postgresql@*.service": 2.5,
    "prometheus.service": 2.0,
    "prometheus-*.service": 2.0,
}
LEAST_INDEX = 85


def measure() -> list[Figure]:
    """On a lab VM of its own, which is destroyed at the end."""
    lab = Lab("prove-walls")
    lab.down()
    try:
        bring_up(lab)
        play(lab, "site.yml")
        host = lab.host(HOST)
        # What runs since before it was provisioned gets its sandbox with its next start.
        host.reboot()

        def ask(command: str) -> str:
            return host.execute("sh", "-c", command, root=True)

        found = exposures(ask, services(ask))
        open_units = without_floor(ask, set(found))
        audited = audit(ask)
    finally:
        lab.down()
    return [
        *_promised(found),
        Figure("services of the host above their bound", "0", _count(breaches(found)), not breaches(found)),
        Figure("services of the host without any sandbox", "0", _count(sorted(open_units)), not open_units),
        Figure("lynis' hardening index", f"≥ {LEAST_INDEX}", str(audited.index), audited.index >= LEAST_INDEX),
        _unexplained(audited.findings),
    ]


def _promised(found: dict[str, float]) -> list[Figure]:
    figures = []
    for bound in bounds():
        most = PROMISED.get(bound.pattern)
        levels = [level for unit, level in found.items() if unit.startswith(bound.pattern.split("*")[0])]
        if most is not None and levels:
            what = f"exposure of `{bound.pattern}`, as systemd-analyze finds it"
            figures.append(Figure(what, f"≤ {most}", str(max(levels)), max(levels) <= most))
    return figures


def _unexplained(findings: frozenset[str]) -> Figure:
    unexplained = sorted(findings - set(accepted_findings()))
    said = f"{len(findings)} findings, {len(unexplained)} without a reason {' '.join(unexplained)}".strip()
    return Figure("lynis' findings without a written reason", "0", said, not unexplained)


def _count(breached: list[str]) -> str:
    return f"{len(breached)}: {'; '.join(breached)}" if breached else "0"
