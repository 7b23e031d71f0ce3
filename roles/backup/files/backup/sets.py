"""Backup sets: a directory each, named by its moment, and good only with the manifest that is written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import BackupError, Settings, seal, sha256, unseal, write

MANIFEST = "manifest.json"
NAME = "%Y%m%dT%H%M%SZ"
FORMAT = 1


@dataclass(frozen=True)
class Set:
    """One that is whole: a directory without a manifest is none."""

    path: Path
    manifest: dict[str, Any]

    @property
    def at(self) -> datetime:
        """The moment that names it."""
        return datetime.strptime(self.path.name, NAME).replace(tzinfo=UTC)

    def part(self, name: str) -> dict[str, Any]:
        """What the manifest says of a part."""
        found: dict[str, Any] = self.manifest["parts"][name]
        return found

    def open(self, name: str, target: Path) -> None:
        """A file of the set, checked before and after it is decrypted."""
        told = self.manifest["files"][name]
        source = self.path / name
        if not source.is_file():
            raise BackupError(f"{source} is missing, which the manifest names")
        if source.stat().st_size != told["size"]:
            raise BackupError(
                f"{source} has {source.stat().st_size} bytes, and the manifest says {told['size']}: truncated?"
            )
        if sha256(source) != told["sha256"]:
            raise BackupError(f"{source} is corrupt: its SHA-256 is not that of the manifest")
        unseal(source, target)
        if sha256(target) != told["content_sha256"]:
            raise BackupError(f"{source} opens to something else than was backed up: another passphrase?")


class Draft:
    """A set that is being made."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        while (settings.sets / now.strftime(NAME)).exists():
            now += timedelta(seconds=1)
        self.path = settings.sets / now.strftime(NAME)
        self.path.mkdir(mode=0o700)
        self.files: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, dict[str, Any]] = {}
        self.at = now

    def take(self, source: Path, name: str) -> int:
        """Encrypt a file into the set; its size."""
        content = sha256(source)
        target = self.path / name
        seal(source, target)
        size = target.stat().st_size
        self.files[name] = {"size": size, "sha256": sha256(target), "content_sha256": content}
        return size

    def finish(self, about: dict[str, Any]) -> None:
        """The manifest makes it a set."""
        told = {"format": FORMAT, "at": self.at.isoformat(), "finished": datetime.now(UTC).isoformat(), **about}
        write(self.path / MANIFEST, json.dumps({**told, "parts": self.parts, "files": self.files}, indent=1) + "\n")


def whole(settings: Settings) -> Iterator[Set]:
    """All sets, the newest first."""
    for path in sorted(settings.sets.iterdir(), reverse=True):
        try:
            manifest = json.loads((path / MANIFEST).read_text())
        except FileNotFoundError:
            continue
        except ValueError:
            raise BackupError(f"{path / MANIFEST} can't be read: it is no JSON") from None
        if manifest.get("format") != FORMAT:
            raise BackupError(f"{path / MANIFEST} has the format {manifest.get('format')}; this release reads {FORMAT}")
        yield Set(path, manifest)


def newest(settings: Settings, part: str, before: datetime | None = None) -> Set:
    """The newest that has a part, or the newest that was made before a moment."""
    for found in whole(settings):
        if part in found.manifest["parts"] and (before is None or found.at <= before):
            return found
    when = f" from before {before:%Y-%m-%d %H:%M} UTC" if before else ""
    raise BackupError(
        f"there is no backup of {part}{when} in {settings.sets}; make one: systemctl start anchorage-backup"
    )


def clean(settings: Settings, now: datetime) -> None:
    """Remove what a run that was broken off left, and what is older than it is kept. The newest of a part stays."""
    for path in settings.sets.iterdir():
        if not (path / MANIFEST).exists():
            shutil.rmtree(path)
    kept: set[str] = set()
    for found in list(whole(settings)):
        parts = set(found.manifest["parts"])
        days = settings.keep_days if "postgres" in parts else settings.keep_vectors_days
        if found.at < now - timedelta(days=days) and parts <= kept:
            # Without its manifest it is no set, wherever the removal is broken off.
            (found.path / MANIFEST).unlink()
            shutil.rmtree(found.path)
        kept |= parts
