"""What a restore would do, and the parts of it that playbooks/restore.yml does not do itself."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import postgres
import sets
from common import BackupError, Settings, say
from qdrant import Qdrant


def plan(settings: Settings, words: list[str]) -> int:
    """Print as JSON what would be restored and lost. Words: the parts by commas, then the moment (UTC) or nothing."""
    parts, at = words[0].split(","), moment(words[1]) if words[1:] and words[1] else None
    lines: list[str] = []
    told: dict[str, Any] = {"lines": lines}
    now = datetime.now(UTC)
    if at is not None and at > now:
        raise BackupError(f"{at:%Y-%m-%d %H:%M:%S} UTC is yet to come")
    if "database" in parts:
        backup = _backup(settings, at)
        stop = datetime.fromtimestamp(backup["timestamp"]["stop"], UTC)
        until = f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "the newest moment in the archive"
        lines.append(
            f"database: pgBackRest {backup['label']} of {stop:%Y-%m-%d %H:%M:%S} UTC, and the log up to {until}"
        )
        if at is not None:
            lines.append(f"LOST: all that was written to the database after {until} ({now - at} until now)")
            told["target"] = f"{at:%Y-%m-%d %H:%M:%S.%f}+00"
        told["label"] = backup["label"]
    if "vectors" in parts:
        chosen = sets.newest(settings, "qdrant", at)
        collections = chosen.part("qdrant")["collections"]
        lines.append(f"vectors: {len(collections)} collections of the set {chosen.path.name}")
    lines.append("Then the index is compared with the database, which is the truth, and mended.")
    say(json.dumps(told))
    return 0


def vectors(settings: Settings, words: list[str]) -> int:
    """Put the collections of a set back, with their aliases. Word: the moment (UTC), or nothing."""
    chosen = sets.newest(settings, "qdrant", moment(words[0]) if words and words[0] else None)
    server, told = Qdrant(settings), chosen.part("qdrant")
    with tempfile.TemporaryDirectory(dir=settings.scratch) as work:
        for name, wanted in told["collections"].items():
            snapshot = Path(work) / "snapshot"
            chosen.open(wanted["file"], snapshot)
            server.upload(name, snapshot)
            say(f"{name}: {server.count(name)} points")
    for alias, collection in told["aliases"].items():
        server.point(alias, collection)
    return 0


def moment(text: str) -> datetime:
    """UTC, unless the text says otherwise."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BackupError(
            f"'{text}' is no moment; write it as 2026-11-20 14:03 (UTC), with seconds or an offset as you like"
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _backup(settings: Settings, at: datetime | None) -> dict[str, Any]:
    """The newest that was whole before the moment."""
    backups = postgres.Pgbackrest(settings).backups()
    fitting = [found for found in backups if at is None or found["timestamp"]["stop"] < at.timestamp()]
    if fitting:
        return fitting[-1]
    if not backups:
        raise BackupError("pgBackRest has no backup; there is nothing to restore from")
    first = datetime.fromtimestamp(backups[0]["timestamp"]["stop"], UTC)
    raise BackupError(
        f"the oldest backup is of {first:%Y-%m-%d %H:%M:%S} UTC: nothing before that moment can be restored"
    )
