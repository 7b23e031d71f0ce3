"""The drill: the newest backup is restored beside what serves, compared with its manifest, and taken down again."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import postgres
import sets
from common import BackupError, Settings, alone, prometheus, run, say, write
from qdrant import Qdrant
from scratch import Scratch, scratch


@dataclass
class Report:
    """What was found, for people and for metrics."""

    lines: list[str] = field(default_factory=list)
    parts: dict[str, bool] = field(default_factory=dict)
    # Of the parts that a service can't be without.
    restoring_seconds: float = 0
    loss_seconds: float | None = None

    def add(self, text: str) -> None:
        """A line, for the journal too."""
        say(text)
        self.lines.append(text)

    @property
    def good(self) -> bool:
        """Only when every part is."""
        return bool(self.parts) and all(self.parts.values())


def main(settings: Settings, _: list[str]) -> int:
    """Status 1 when a part could not be restored, or was not what it should be."""
    began = datetime.now(UTC)
    with alone(settings):
        report = Report()
        for name, rehearse in PARTS.items():
            try:
                rehearse(settings, report)
                report.parts[name] = True
            except (BackupError, OSError, ValueError, LookupError, tarfile.TarError) as error:
                report.parts[name] = False
                report.add(f"{name}: FAILED: {error}")
        _tell(settings, report, began)
    return 0 if report.good else 1


def _postgres(settings: Settings, report: Report) -> None:
    """Twice in one scratch server: at the mark of the set, to compare; then at the newest moment of the log."""
    chosen = sets.newest(settings, "postgres")
    told = chosen.part("postgres")
    report.add(f"postgres: set {chosen.path.name}, pgBackRest {told['label']} ({told['type']})")
    serving = postgres.serving(settings)
    _fits(settings, told)
    newest = f"anchorage-drill-{int(time.time())}"
    position = serving.one(f"SELECT pg_create_restore_point('{newest}')")
    loss = postgres.wait_for_archive(serving, position, settings.archive_patience_sec)
    report.add(f"postgres: what was written at the start of the drill was in the archive after {loss:.1f} s")
    with scratch(settings) as copy:
        began = time.monotonic()
        copy.restore(told["label"], told["mark"])
        copy.start(told["mark"], "pause")
        _compare(settings, report, copy, told)
        copy.stop()
        copy.start(newest, "promote")
        report.restoring_seconds += time.monotonic() - began
        report.loss_seconds = loss
        report.add(f"postgres: restored and replayed to the start of the drill in {time.monotonic() - began:.1f} s")
        programs = Path(settings.postgres["programs"])
        words = ["--install-missing", "-d", settings.postgres["database"], *copy.server.at()]
        run([programs / "pg_amcheck", *words], what="pg_amcheck of what was restored")
        report.add("postgres: pg_amcheck finds nothing")


def _fits(settings: Settings, told: dict[str, Any]) -> None:
    major = postgres.serving(settings).one("SHOW server_version_num")[:-4]
    if told["major"] != major:
        raise BackupError(f"the newest backup is of Postgres {told['major']}, and {major} runs here: make one now")
    backup = next((found for found in postgres.Pgbackrest(settings).backups() if found["label"] == told["label"]), None)
    if backup is None:
        raise BackupError(f"pgBackRest no longer has {told['label']}, which the set names")
    free = shutil.disk_usage(settings.scratch).free
    if backup["info"]["size"] * 1.2 > free:
        raise BackupError(
            f"{settings.scratch} has {free >> 20} MiB free; the database has {backup['info']['size'] >> 20}"
        )


def _compare(settings: Settings, report: Report, copy: Scratch, told: dict[str, Any]) -> None:
    found = postgres.content(copy.server, sorted(told["tables"]), settings.checksummed_tables)
    for name, wanted in told["tables"].items():
        here = found[name]
        checked = wanted["checksum"] is not None and here["checksum"] is not None
        if here["rows"] != wanted["rows"] or (checked and here["checksum"] != wanted["checksum"]):
            raise BackupError(f"the table {name} has {here}, and the manifest says {wanted}")
    revision = postgres.schema_revision(copy.server)
    if revision != told["schema_revision"]:
        raise BackupError(f"the schema is at {revision}, and the manifest says {told['schema_revision']}")
    rows = sum(wanted["rows"] for wanted in told["tables"].values())
    checked_tables = sum(wanted["checksum"] is not None for wanted in told["tables"].values())
    report.add(
        f"postgres: {rows} rows of {len(found)} tables as in the manifest, "
        f"the content of {checked_tables} too; schema {revision}"
    )


def _qdrant(settings: Settings, report: Report) -> None:
    """Each snapshot into a collection of its own, which is dropped again."""
    chosen = sets.newest(settings, "qdrant")
    server = Qdrant(settings)
    told = chosen.part("qdrant")["collections"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=settings.scratch) as work:
        for number, (name, wanted) in enumerate(told.items()):
            snapshot, own = Path(work) / "snapshot", f"{settings.scratch_collection}{number}"
            chosen.open(wanted["file"], snapshot)
            server.drop(own)
            try:
                server.upload(own, snapshot)
                found = server.count(own)
            finally:
                server.drop(own)
            least, most = wanted["points"]
            if not least <= found <= most:
                raise BackupError(f"the collection {name} has {found} points, and the manifest says {least} to {most}")
    seconds = time.monotonic() - began
    report.restoring_seconds += seconds
    report.add(
        f"qdrant: set {chosen.path.name}, {len(told)} collections with the points of the manifest in {seconds:.1f} s"
    )


def _redis(settings: Settings, report: Report) -> None:
    chosen = sets.newest(settings, "redis")
    name = chosen.part("redis")["file"]
    if name is None:
        report.add("redis: it had nothing to keep")
        return
    with tempfile.TemporaryDirectory(dir=settings.scratch) as work:
        dump = Path(work) / "dump.rdb"
        chosen.open(name, dump)
        run(["redis-check-rdb", dump], what="redis-check-rdb")
    report.add(f"redis: set {chosen.path.name}, its dump can be read")


def _configuration(settings: Settings, report: Report) -> None:
    chosen = sets.newest(settings, "configuration")
    told = chosen.part("configuration")
    with tempfile.TemporaryDirectory(dir=settings.scratch) as work:
        archive = Path(work) / "configuration.tar"
        chosen.open(told["file"], archive)
        with tarfile.open(archive) as tar:
            names = {f"/{name}" for name in tar.getnames()}
    if missing := set(told["paths"]) - names:
        raise BackupError(f"the archive of the configuration lacks {', '.join(sorted(missing))}")
    report.add(f"configuration: set {chosen.path.name}, {len(names)} files")


PARTS: dict[str, Callable[[Settings, Report], None]] = {
    "postgres": _postgres,
    "qdrant": _qdrant,
    "redis": _redis,
    "configuration": _configuration,
}


def _tell(settings: Settings, report: Report, began: datetime) -> None:
    memory = settings.repository / "last_drill.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    if report.good:
        known = {"when": time.time(), "rto": report.restoring_seconds, "rpo": report.loss_seconds}
        write(memory, json.dumps(known))
    name = "anchorage_drill_"
    metrics = {
        f"{name}success": ("1: what was restored was what it should be.", {"": float(report.good)}),
        f"{name}part_success": (
            "The same of each part.",
            {f'part="{part}"': float(good) for part, good in report.parts.items()},
        ),
    }
    if known:
        metrics |= {
            f"{name}last_success_timestamp_seconds": ("When the last good drill ended.", {"": known["when"]}),
            f"{name}rto_seconds": ("What restoring took in the last good drill.", {"": known["rto"]}),
            f"{name}rpo_seconds": (
                "Age of the newest moment that the last good drill could restore.",
                {"": known["rpo"]},
            ),
        }
    head = [
        f"Drill of {began:%Y-%m-%d %H:%M} UTC: {'good' if report.good else 'FAILED'}",
        f"Restoring took {report.restoring_seconds:.1f} s (RTO).",
        "Nothing of the database's newest moment was restored."
        if report.loss_seconds is None
        else f"What was older than {report.loss_seconds:.1f} s was restored (RPO).",
    ]
    write(settings.told / "drill.txt", "\n".join([*head, "", *report.lines]) + "\n", 0o640)
    write(settings.told / "anchorage_drill.prom", prometheus(metrics), 0o644)
