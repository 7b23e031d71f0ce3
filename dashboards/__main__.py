"""Writes all dashboards: `python -m dashboards`."""

from __future__ import annotations

import sys
from pathlib import Path

from dashboards import (
    backups,
    deploys,
    hosts,
    ingestion,
    nginx,
    overview,
    postgres,
    qdrant,
    rag,
    redis,
)
from dashboards.board import Board, as_json

TARGET = Path(__file__).resolve().parents[1] / "roles/grafana/files/dashboards"
MODULES = (overview, rag, ingestion, nginx, postgres, redis, qdrant, hosts, backups, deploys)


def boards() -> list[Board]:
    """In the order of their importance."""
    return [module.board() for module in MODULES]


def write(target: Path) -> None:
    """Put them into the folder, and nothing else."""
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.json"):
        old.unlink()
    for board in boards():
        (target / f"{board.name}.json").write_text(as_json(board), encoding="utf-8")


if __name__ == "__main__":
    write(TARGET)
    sys.exit(0)
