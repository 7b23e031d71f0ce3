"""`make prove`: each part measures its promises and writes them into the scorecard."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.prove import (
    alerts,
    certificates,
    dashboards,
    deployment,
    embedded,
    hardening,
    kills,
    logs,
    retrieval,
    scale,
    secrets,
    soak,
    suites,
    telemetry,
    tls,
    walls,
)
from tests.prove.scorecard import FILE, Figure, write

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "embedded": embedded.measure,
    "retrieval": retrieval.measure,
    "up": deployment.measure,
    "alerts": alerts.measure,
    "pages": alerts.measure_pages,
    "certificates": certificates.measure,
    "dashboards": dashboards.measure,
    "hardening": hardening.measure,
    "kills": kills.measure,
    "logs": logs.measure,
    "scale": scale.measure,
    "secrets": secrets.measure,
    "soak": soak.measure,
    "telemetry": telemetry.measure,
    "tls": tls.measure,
    "walls": walls.measure,
    "tests": suites.measure,
}


def main(arguments: list[str]) -> int:
    """Measure the named parts, or all; status 1 when a promise is not met."""
    wanted = arguments or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        print(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.", file=sys.stderr)  # noqa: T201
        return 2
    missed = 0
    for part in wanted:
        print(f"\n== {part}", flush=True)  # noqa: T201
        figures = PARTS[part]()
        write(part, figures)
        for figure in figures:
            print(f"{'met   ' if figure.met else 'MISSED'} {figure.what}: {figure.measured} ({figure.promised})")  # noqa: T201
            missed += not figure.met
    print(f"\nWritten to {FILE.relative_to(FILE.parents[1])}")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
