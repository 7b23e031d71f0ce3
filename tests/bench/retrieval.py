"""How well each strategy finds the judged documents, by the service's own API over an index of its own."""

from __future__ import annotations

import os
from pathlib import Path

from app.cli.evaluate import table
from app.evaluation.dataset import load
from app.evaluation.run import Report, Run, measure
from app.evaluation.targets import embedded
from app.settings import Settings
from app.telemetry.logs import configure_logs

SETS = ("cranfield", "xquad-en")
RUNS = (Run.HYBRID, Run.DENSE, Run.SPARSE, Run.RRF)
DATASETS = Path(os.environ.get("ANCHORAGE_DATASETS", "../shared/data"))


async def reports(data: Path = DATASETS) -> list[Report]:
    """The figures of each set, all by the same settings."""
    configure_logs(Settings(log_level="ERROR"))
    found = []
    for name in SETS:
        async with embedded(Settings()) as target:
            found.append(await measure(target, load(data / name), RUNS))
    return found


async def main(data: Path) -> None:
    """Print them."""
    for report in await reports(data):
        print(table(report))  # noqa: T201
