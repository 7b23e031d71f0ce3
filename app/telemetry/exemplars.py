"""Which trace was an example of a bucket. prometheus_client keeps no exemplars over several processes; this does.

Each process holds the newest of every bucket, and with ``PROMETHEUS_MULTIPROC_DIR`` puts them into a file there, so
that whichever process is scraped shows those of all. What it shows is true, it is not all: a file lags a second.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

# An example of long ago leads to a trace that is no longer kept.
MAX_AGE_SECONDS = 3600.0
WRITE_SECONDS = 1.0
# Metric, label values in their order, upper bound of the bucket.
Key = tuple[str, tuple[str, ...], str]


class Exemplars:
    """The newest example of each bucket."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._newest: dict[Key, Exemplar] = {}
        self._written = 0.0

    def remember(
        self, metric: str, labels: tuple[str, ...], bounds: Sequence[float], value: float, trace_id: str
    ) -> None:
        """Take an observation whose trace can be looked at."""
        at = bisect_left(bounds, value)
        bound = _written(bounds[at] if at < len(bounds) else float("inf"))
        now = self._clock()
        self._newest[metric, labels, bound] = Exemplar({"trace_id": trace_id}, value, round(now, 3))
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if directory is not None and now - self._written >= WRITE_SECONDS:
            self._written = now
            self._write(file_of(Path(directory), os.getpid()))

    def attach(self, metric: Metric, label_names: tuple[str, ...]) -> Metric:
        """Put the examples of this histogram to its buckets."""
        found = {key: exemplar for key, exemplar in self._all() if key[0] == metric.name}
        if found:
            metric.samples = [_with(sample, metric.name, label_names, found) for sample in metric.samples]
        return metric

    def _all(self) -> Iterator[tuple[Key, Exemplar]]:
        """Oldest first, so that the newest stands in a dictionary of them."""
        everything = list(self._newest.items())
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if directory is not None:
            for file in Path(directory).glob("exemplars_*.json"):
                if file != file_of(Path(directory), os.getpid()):
                    everything += _read(file)
        oldest = self._clock() - MAX_AGE_SECONDS
        young = [item for item in everything if _moment(item[1]) >= oldest]
        yield from sorted(young, key=lambda item: _moment(item[1]))

    def _write(self, file: Path) -> None:
        rows = [[*key, list(exemplar)] for key, exemplar in self._newest.items()]
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(rows))
        fresh.replace(file)


def file_of(directory: Path, pid: int) -> Path:
    """Where a process puts its own."""
    return directory / f"exemplars_{pid}.json"


def _read(file: Path) -> list[tuple[Key, Exemplar]]:
    try:
        rows = json.loads(file.read_text())
    except FileNotFoundError:
        # Its process has just ended.
        return []
    return [((metric, tuple(labels), bound), Exemplar(*exemplar)) for metric, labels, bound, exemplar in rows]


def _written(bound: float) -> str:
    """As the label of a bucket has it."""
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


def _moment(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0)


def _with(sample: Sample, metric: str, label_names: tuple[str, ...], found: dict[Key, Exemplar]) -> Sample:
    if "le" not in sample.labels:
        return sample
    labels = tuple(sample.labels[name] for name in label_names)
    exemplar = found.get((metric, labels, sample.labels["le"]))
    return sample if exemplar is None else sample._replace(exemplar=exemplar)
