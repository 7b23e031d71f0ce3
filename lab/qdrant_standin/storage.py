"""All collections and aliases of one storage directory, held by one process."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from . import schema
from .collection import Collection, sync_directory, write_json
from .errors import ApiError, no_collection, wrong_input
from .values import Json, need, obj, text

_BAD_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_LOCK = ".standin.lock"


class StorageInUseError(Exception):
    """Another process holds the storage directory."""


class Storage:
    """Layout: `collections/<name>/`, `aliases.json`, `tmp/` (unfinished work, emptied at start)."""

    def __init__(self, path: Path, lock: TextIO) -> None:
        self.path = path
        self._lock = lock
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}

    @classmethod
    def open(cls, path: Path) -> Storage:
        """Lock the directory, then load every collection. Raises StorageInUseError.

        The lock comes first: the engine refuses a second open, but by then it has damaged the first one's state.
        """
        (path / "collections").mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise StorageInUseError(f"{path} is in use by another process; stop it or change storage_path") from error
        storage = cls(path, lock)
        shutil.rmtree(path / "tmp", ignore_errors=True)
        (path / "tmp").mkdir()
        for directory in sorted((path / "collections").iterdir()):
            storage.collections[directory.name] = Collection.load(directory)
        aliases = path / "aliases.json"
        if aliases.exists():
            storage.aliases = json.loads(aliases.read_text(encoding="utf-8"))
        return storage

    def close(self) -> None:
        """Flush and close every shard, then give the directory free."""
        for collection in self.collections.values():
            collection.close()
        self.collections.clear()
        self._lock.close()

    def scratch(self) -> Path:
        """A fresh path below `tmp/`, on the storage's own file system so that a rename is atomic."""
        return self.path / "tmp" / uuid4().hex

    def get(self, name: str) -> Collection:
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise no_collection(name)
        return found

    def create(self, name: str, body: Json) -> bool:
        create = obj(body, "collection", schema.CREATE)
        check_name(name)
        if name in self.collections or name in self.aliases:
            raise ApiError(409, f"Wrong input: Collection `{name}` already exists!")
        scratch = self.scratch()
        try:
            Collection.build(scratch, {key: value for key, value in create.items() if value is not None})
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        self.install(name, scratch)
        return True

    def install(self, name: str, scratch: Path) -> None:
        """Put the closed collection at `scratch` in the place of `name` (replacing it) and load it."""
        target = self.path / "collections" / name
        old = self.collections.pop(name, None)
        if old is not None:
            old.close()
            trash = self.scratch()
            move(target, trash)
        move(scratch, target)
        self.collections[name] = Collection.load(target)
        if old is not None:
            shutil.rmtree(trash)

    def delete(self, name: str) -> bool:
        """Remove a collection and its aliases; false when there is none."""
        collection = self.collections.pop(name, None)
        if collection is None:
            return False
        collection.dirty = False  # nothing of it is kept
        collection.close()
        trash = self.scratch()
        self._set_aliases({alias: target for alias, target in self.aliases.items() if target != name})
        move(collection.path, trash)
        shutil.rmtree(trash)
        return True

    def change_aliases(self, actions: list[Any]) -> bool:
        """Apply all actions or none."""
        aliases = dict(self.aliases)
        for action in actions:
            shape = obj(action, "action", "create_alias delete_alias rename_alias")
            if shape.get("create_alias") is not None:
                self._create_alias(aliases, shape["create_alias"])
            elif shape.get("delete_alias") is not None:
                body = obj(shape["delete_alias"], "delete_alias", "alias_name")
                if aliases.pop(text(need(body, "alias_name", "delete_alias"), "alias_name"), None) is None:
                    raise ApiError(404, f"Not found: Alias {body['alias_name']} does not exists!")
            else:
                body = obj(need(shape, "rename_alias", "action"), "rename_alias", "old_alias_name new_alias_name")
                old, new = (text(need(body, key, "rename_alias"), key) for key in ("old_alias_name", "new_alias_name"))
                if old not in aliases:
                    raise ApiError(404, f"Not found: Alias {old} does not exists!")
                aliases[new] = aliases.pop(old)
        self._set_aliases(aliases)
        return True

    def _create_alias(self, aliases: dict[str, str], body: Json) -> None:
        shape = obj(body, "create_alias", "collection_name alias_name")
        target, alias = (text(need(shape, key, "create_alias"), key) for key in ("collection_name", "alias_name"))
        if target not in self.collections:
            raise no_collection(target)
        if alias in self.collections:
            raise ApiError(409, f"Wrong input: Collection `{alias}` already exists!")
        check_name(alias)
        aliases[alias] = target

    def _set_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self.aliases:
            write_json(self.path / "aliases.json", aliases)
            self.aliases = aliases


def move(source: Path, target: Path) -> None:
    """Rename, and make the rename survive a power cut."""
    os.rename(source, target)
    for parent in {source.parent, target.parent}:
        sync_directory(parent)


def check_name(name: str) -> None:
    if not 1 <= len(name.encode()) <= 255 or _BAD_NAME.search(name) or name in (".", ".."):
        raise wrong_input(f"collection name {name!r}: 1 to 255 bytes and none of {_BAD_NAME.pattern} are allowed")
