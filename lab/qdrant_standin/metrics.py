"""`GET /metrics`: the server's metric names that the stand-in can fill honestly, in Prometheus text format."""

from __future__ import annotations

import os
import resource
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import COMMIT, version
from .storage import Storage


@dataclass
class Responses:
    """Counts and total seconds of answered requests by (method, route, status)."""

    count: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    seconds: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def add(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        key = (method, endpoint, status)
        self.count[key] += 1
        self.seconds[key] += seconds  # type: ignore[assignment]  # Counter is typed for integers


def render(storage: Storage, responses: Responses, prefix: str, snapshots_created: int) -> str:
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> None:
        lines.append(f"# HELP {prefix}{name} {text}")
        lines.append(f"# TYPE {prefix}{name} {kind}")
        lines.extend(f"{prefix}{name}{labels} {value:g}" for labels, value in samples)

    metric(
        "app_info",
        "gauge",
        "information about the server",
        [(f'{{name="qdrant",version="{version()}",commit="{COMMIT}"}}', 1)],
    )
    metric("app_status_recovery_mode", "gauge", "is recovery mode enabled", [("", 0)])
    metric("cluster_enabled", "gauge", "is cluster support enabled", [("", 0)])
    metric("collections_total", "gauge", "number of collections", [("", len(storage.collections))])
    counts = [(f'{{id="{_escape(name)}"}}', float(item.count())) for name, item in storage.collections.items()]
    metric("collection_points", "gauge", "approximate amount of points per collection", counts)
    metric("snapshot_created_total", "counter", "total number of created snapshots", [("", snapshots_created)])
    metric(
        "memory_resident_bytes", "gauge", "total number of bytes in physically resident data pages", [("", _resident())]
    )
    metric("process_open_fds", "gauge", "number of open file descriptors", [("", len(os.listdir("/proc/self/fd")))])
    metric(
        "process_max_fds",
        "gauge",
        "limit of open file descriptors",
        [("", resource.getrlimit(resource.RLIMIT_NOFILE)[0])],
    )
    labels = {key: f'{{method="{key[0]}",endpoint="{key[1]}",status="{key[2]}"}}' for key in responses.count}
    metric(
        "rest_responses_total",
        "counter",
        "total number of responses",
        [(labels[k], n) for k, n in responses.count.items()],
    )
    metric(
        "rest_responses_duration_seconds_sum",
        "counter",
        "seconds spent on responses",
        [(labels[k], n) for k, n in responses.seconds.items()],
    )
    return "\n".join(lines) + "\n"


def _escape(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
