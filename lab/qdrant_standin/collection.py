"""One collection: an engine shard, its description on disk, and the lock that orders its writers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from . import schema
from .errors import engine_call, no_collection
from .values import PointId

DESCRIPTION = "collection.json"
SHARD = "shard"


class Collection:
    """A loaded shard. Reads call the engine directly; whoever changes it or copies its files holds `lock`."""

    def __init__(self, path: Path, create: dict[str, Any], indexes: dict[str, Any], shard: edge.EdgeShard) -> None:
        self.path = path
        self.create = create
        self.indexes = indexes
        self.shard = shard
        self.lock = asyncio.Lock()
        self.dirty = False
        self.closed = False
        self.operations = 0

    @property
    def name(self) -> str:
        return self.path.name

    @classmethod
    def build(cls, path: Path, create: dict[str, Any]) -> None:
        """Make the files of a new collection at `path` (a temporary place; the caller moves it)."""
        (path / SHARD).mkdir(parents=True)
        with engine_call():
            shard = edge.EdgeShard.create(str(path / SHARD), schema.engine_config(create))
            shard.flush()
            shard.close()
        write_json(path / DESCRIPTION, {"create": create, "indexes": {}})

    @classmethod
    def load(cls, path: Path) -> Collection:
        """Open the collection at `path`. The storage lock must be held: a second open damages the first."""
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        with engine_call():
            shard = edge.EdgeShard.load(str(path / SHARD))
        return cls(path, description["create"], description["indexes"], shard)

    def save_description(self) -> None:
        write_json(self.path / DESCRIPTION, {"create": self.create, "indexes": self.indexes})

    def update(self, operation: edge.UpdateOperation) -> int:
        """Apply one operation (the engine writes its WAL first); returns the operation's number."""
        if self.closed:  # deleted or replaced while this request waited for the lock
            raise no_collection(self.name)
        self.dirty = True
        with engine_call():
            self.shard.update(operation)
        self.operations += 1
        return self.operations

    def flush(self) -> None:
        if self.dirty:
            self.dirty = False
            try:
                self.shard.flush()
            except Exception:
                self.dirty = True
                raise

    def close(self) -> None:
        if not self.closed:
            self.flush()
            self.shard.close()
            self.closed = True

    def count(self, condition: edge.Filter | None = None) -> int:
        with engine_call():
            return self.shard.count(edge.CountRequest(exact=True, filter=condition))

    def vector(self, wanted: PointId, using: str) -> Any:
        """The vector named `using` (empty: the unnamed one) of a point, or None."""
        with engine_call():
            found = self.shard.retrieve([wanted], False, True)
        if not found:
            return None
        stored: Any = found[0].vector
        if isinstance(stored, dict):
            return stored.get(using)
        return stored if using == "" else None

    def describe(self, flush_interval_s: float) -> dict[str, Any]:
        """The collection's description (`GET /collections/{name}`)."""
        info = self.shard.info()
        payload_schema = {
            field: {"data_type": schema.index_type(index), "params": self.indexes.get(field), "points": index.points}
            for field, index in info.payload_schema.items()
        }
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": schema.described(self.create, flush_interval_s),
            "payload_schema": payload_schema,
            "update_queue": {"length": 0},
        }


def write_json(path: Path, value: Any) -> None:
    """Replace a small file so that a crash leaves the old or the new one, whole and on disk."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make names made or changed in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
