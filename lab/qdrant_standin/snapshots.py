"""Snapshots of the stand-in. Same routes as the server's, NOT the server's file format: the engine can't write that.

A collection's file is a gzip'ed tar of `collection.json` and the flushed shard. A full one is a tar of those files and
`config.json`. Taken with writers held off, made under a temporary name, renamed when it is whole and on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .collection import DESCRIPTION, SHARD, Collection, sync_directory
from .errors import ApiError, not_found, wrong_input
from .storage import Storage, check_name

PEER_ID = 1
_SUFFIX = ".snapshot"


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S-%f")


def describe(path: Path) -> dict[str, Any]:
    """Name, creation time, size in bytes and SHA-256 of a snapshot file."""
    stat = path.stat()
    checksum = path.with_name(path.name + ".checksum")
    return {
        "name": path.name,
        "creation_time": datetime.fromtimestamp(stat.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "size": stat.st_size,
        "checksum": checksum.read_text(encoding="ascii").strip() if checksum.exists() else None,
    }


def list_in(directory: Path) -> list[dict[str, Any]]:
    return [describe(path) for path in sorted(directory.glob(f"*{_SUFFIX}"))] if directory.is_dir() else []


def find(directory: Path, name: str) -> Path:
    """The snapshot file `name`, which must be a plain name of an existing file."""
    path = directory / name
    if path.name != name or not name.endswith(_SUFFIX) or not path.is_file():
        raise not_found(f"Snapshot {name} not found")
    return path


def remove(directory: Path, name: str) -> bool:
    path = find(directory, name)
    path.unlink()
    path.with_name(path.name + ".checksum").unlink(missing_ok=True)
    return True


async def create(collection: Collection, directory: Path) -> dict[str, Any]:
    """Snapshot one collection into `directory`; searches go on meanwhile, writes wait."""
    target = directory / f"{collection.name}-{PEER_ID}-{_stamp()}{_SUFFIX}"
    async with collection.lock:
        collection.flush()
        await asyncio.to_thread(_pack, collection.path, target)
    return describe(target)


def _pack(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
            tar.add(source / DESCRIPTION, DESCRIPTION)
            for name in ("edge_config.json", "segments"):
                tar.add(source / SHARD / name, f"{SHARD}/{name}")
        file.flush()
        os.fsync(file.fileno())
    _publish(part, target)


def _publish(part: Path, target: Path) -> None:
    checksum = target.with_name(target.name + ".checksum")
    checksum.write_text(sha256(part) + "\n", encoding="ascii")
    os.replace(part, target)
    sync_directory(target.parent)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def recover(storage: Storage, name: str, archive: Path, checksum: str | None) -> bool:
    """Replace (or make) the collection `name` from a file. Whatever is wrong with the file, the old data stays."""
    check_name(name)
    if checksum is not None:
        actual = await asyncio.to_thread(sha256, archive)
        if actual != checksum.lower():
            raise wrong_input(f"Snapshot checksum mismatch: expected {checksum}, actual {actual}")
    scratch = storage.scratch()
    try:
        await asyncio.to_thread(_unpack, archive, scratch)
        trial = Collection.load(scratch)  # proves that the engine can read it before anything is replaced
        trial.close()
        old = storage.collections.get(name)
        if old is None:
            storage.install(name, scratch)
        else:
            async with old.lock:
                storage.install(name, scratch)
    except (tarfile.TarError, EOFError, OSError, json.JSONDecodeError, KeyError) as error:
        raise wrong_input(f"Failed to read the snapshot: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def _unpack(archive: Path, target: Path) -> None:
    """Extract files and directories only, and only below `target`."""
    with tarfile.open(archive, mode="r:*") as tar:
        for member in tar:
            destination = (target / member.name).resolve()
            if not destination.is_relative_to(target.resolve()):
                raise wrong_input(f"Failed to read the snapshot: {member.name} points outside of it")
            if member.isdir():
                destination.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                destination.parent.mkdir(parents=True, exist_ok=True)
                _copy_member(tar, member, destination)
            else:
                raise wrong_input(f"Failed to read the snapshot: {member.name} is neither a file nor a directory")
    if not (target / DESCRIPTION).is_file():
        raise wrong_input("Failed to read the snapshot: it is not one of the lab stand-in (no collection.json)")


def _copy_member(tar: tarfile.TarFile, member: tarfile.TarInfo, destination: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise wrong_input(f"Failed to read the snapshot: {member.name} is not a file")
    with source, destination.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


async def create_full(storage: Storage, directory: Path) -> dict[str, Any]:
    """Snapshot every collection and the aliases into one file."""
    target = directory / f"full-snapshot-{_stamp()}{_SUFFIX}"
    scratch = storage.scratch()
    scratch.mkdir()
    try:
        mapping = {}
        for collection in list(storage.collections.values()):
            mapping[collection.name] = (await create(collection, scratch))["name"]
        description = {"collections_mapping": mapping, "collections_aliases": storage.aliases}
        (scratch / "config.json").write_text(json.dumps(description), encoding="utf-8")
        await asyncio.to_thread(_pack_full, scratch, mapping, target)
    finally:
        shutil.rmtree(scratch)
    return describe(target)


def _pack_full(scratch: Path, mapping: dict[str, str], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in ["config.json", *mapping.values()]:
                tar.add(scratch / name, name)
        file.flush()
        os.fsync(file.fileno())
    _publish(part, target)


def restore_full(storage: Storage, archive: Path, force: bool) -> None:
    """`--storage-snapshot`: all collections and aliases of a full snapshot. Refuses to replace one unless forced."""
    outer = storage.scratch()
    try:
        outer.mkdir()
        with tarfile.open(archive) as tar:
            _copy_member(tar, tar.getmember("config.json"), outer / "config.json")
            description = json.loads((outer / "config.json").read_text(encoding="utf-8"))
            for name, member in description["collections_mapping"].items():
                refuse_existing(storage, name, force)
                _copy_member(tar, tar.getmember(member), outer / "one")
                restore_one(storage, name, outer / "one", force)
        aliases = description["collections_aliases"].items()
        storage.change_aliases([{"create_alias": {"alias_name": a, "collection_name": c}} for a, c in aliases])
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def restore_one(storage: Storage, name: str, archive: Path, force: bool) -> None:
    """`--snapshot FILE:COLLECTION`, before the server listens."""
    refuse_existing(storage, name, force)
    scratch = storage.scratch()
    _unpack(archive, scratch)
    storage.install(name, scratch)


def refuse_existing(storage: Storage, name: str, force: bool) -> None:
    if name in storage.collections and not force:
        raise ApiError(409, f"Collection {name} already exists. Use --force-snapshot to overwrite it.")
