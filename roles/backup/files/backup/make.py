"""Make a backup: all parts, or the vectors alone."""

from __future__ import annotations

import json
import os
import platform
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import postgres
from common import BackupError, Settings, alone, prometheus, run, say, write
from qdrant import Qdrant
from sets import Draft, clean

Part = Callable[[Settings, Draft, Path], int]


def main(settings: Settings, names: list[str]) -> int:
    """Status 1 when a part failed; the others are backed up all the same."""
    with alone(settings):
        now = datetime.now(UTC).replace(microsecond=0)
        clean(settings, now)
        draft = Draft(settings, now)
        outcomes = {name: _try(name, settings, draft) for name in names}
        if draft.parts:
            draft.finish(_about(settings))
        _tell(settings, outcomes)
    return 0 if all(outcome["good"] for outcome in outcomes.values()) else 1


def _try(name: str, settings: Settings, draft: Draft) -> dict[str, Any]:
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(dir=settings.repository / "work") as work:
            size = PARTS[name](settings, draft, Path(work))
    except (BackupError, OSError, ValueError, LookupError, tarfile.TarError) as error:
        say(f"{name}: FAILED: {error}")
        draft.parts.pop(name, None)
        return {"good": False, "seconds": time.monotonic() - began}
    say(f"{name}: {size} bytes in {time.monotonic() - began:.1f} s")
    return {"good": True, "seconds": time.monotonic() - began, "size": size}


def _postgres(settings: Settings, draft: Draft, work: Path) -> int:
    """A backup, a mark in the log behind it, and what was in the tables at that mark."""
    server, pgbackrest = postgres.serving(settings), postgres.Pgbackrest(settings)
    fulls = [backup for backup in pgbackrest.backups() if backup["type"] == "full"]
    # A little less than the days, for the jitter of the timer.
    fresh = time.time() - timedelta(days=settings.full_every_days, hours=-4).total_seconds()
    kind = "diff" if fulls and fulls[-1]["timestamp"]["stop"] > fresh else "full"
    # Expires what is older than it is kept, too.
    pgbackrest("backup", f"--type={kind}")
    made = pgbackrest.backups()[-1]
    mark = f"anchorage-{draft.path.name}"
    position, told = postgres.content_at_a_mark(server, mark, settings.checksummed_tables)
    server.one("SELECT pg_switch_wal()")
    postgres.wait_for_archive(server, position, settings.archive_patience_sec)
    draft.parts["postgres"] = {
        "label": made["label"],
        "type": made["type"],
        "start": made["lsn"]["start"],
        "stop": made["lsn"]["stop"],
        "wal": made["archive"],
        "mark": mark,
        "mark_at": position,
        "tables": told,
        "schema_revision": postgres.schema_revision(server),
        "major": server.one("SHOW server_version_num")[:-4],
    }
    return int(made["info"]["repository"]["delta"])


def _qdrant(settings: Settings, draft: Draft, work: Path) -> int:
    """A snapshot of each collection, and the aliases, which no snapshot has."""
    server, total = Qdrant(settings), 0
    collections: dict[str, Any] = {}
    aliases = server.aliases()
    for number, name in enumerate(server.collections()):
        if name.startswith(settings.scratch_collection):
            continue
        snapshot = work / "snapshot"
        least, most = server.snapshot(name, snapshot)
        # Names of collections are no names of files.
        file = f"qdrant-{number}.snapshot.enc"
        total += draft.take(snapshot, file)
        collections[name] = {"file": file, "points": [least, most]}
    draft.parts["qdrant"] = {"collections": collections, "aliases": aliases, "version": server.version()}
    return total


def _redis(settings: Settings, draft: Draft, work: Path) -> int:
    """What Redis itself last wrote, put in place by it at once: cache and limits, which may be lost."""
    copy, source = work / "dump.rdb", Path(settings.redis_rdb)
    if not source.exists():
        # Nothing was ever to be kept.
        draft.parts["redis"] = {"file": None}
        return 0
    copy.write_bytes(source.read_bytes())
    run(["redis-check-rdb", copy], what="redis-check-rdb")
    draft.parts["redis"] = {"file": "redis.rdb.enc", "written": source.stat().st_mtime}
    return draft.take(copy, "redis.rdb.enc")


def _configuration(settings: Settings, draft: Draft, work: Path) -> int:
    """Certificates, credentials, settings, and which release runs."""
    archive = work / "configuration.tar"
    with tarfile.open(archive, "w") as tar:
        present = [path for path in settings.configuration if os.path.lexists(path)]
        for path in present:
            tar.add(path)
    draft.parts["configuration"] = {"file": "configuration.tar.enc", "paths": present}
    return draft.take(archive, "configuration.tar.enc")


PARTS: dict[str, Part] = {
    "postgres": _postgres,
    "qdrant": _qdrant,
    "redis": _redis,
    "configuration": _configuration,
}


def _about(settings: Settings) -> dict[str, Any]:
    release = Path(settings.release)
    manifest = release / "release.json"
    return {
        "host": platform.node(),
        "versions": {
            "postgres": run([Path(settings.postgres["programs"]) / "postgres", "--version"], what="postgres").split()[
                2
            ],
            "pgbackrest": postgres.Pgbackrest(settings).version(),
            "release": json.loads(manifest.read_text())["release"] if manifest.exists() else None,
        },
    }


def _tell(settings: Settings, outcomes: dict[str, dict[str, Any]]) -> None:
    """Metrics of all parts, those of earlier runs too: this one may have been of the vectors alone."""
    memory = settings.repository / "last.json"
    known: dict[str, dict[str, Any]] = json.loads(memory.read_text()) if memory.exists() else {}
    for name, outcome in outcomes.items():
        known[name] = {**known.get(name, {}), **outcome, **({"when": time.time()} if outcome["good"] else {})}
    write(memory, json.dumps(known))

    def each(key: str) -> dict[str, float]:
        return {f'part="{name}"': float(told[key]) for name, told in sorted(known.items()) if key in told}

    name = "anchorage_backup_"
    metrics = {
        f"{name}last_success_timestamp_seconds": ("When the last good backup ended.", each("when")),
        f"{name}success": ("1: the last backup was good.", each("good")),
        f"{name}size_bytes": ("Size of the last good backup.", each("size")),
        f"{name}duration_seconds": ("What the last backup took.", each("seconds")),
    }
    write(settings.told / "anchorage_backup.prom", prometheus(metrics), 0o644)
