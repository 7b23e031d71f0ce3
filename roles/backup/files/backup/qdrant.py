"""Qdrant's snapshots, by its API: taken, checked, and put into a collection again."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import CHUNK, BackupError, Settings, credential

KEY = "QDRANT__SERVICE__API_KEY="
BOUNDARY = "anchorage-5f1c0b7d2c7e4a0e"


def _path(*parts: str) -> str:
    return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


class Qdrant:
    """A client of what this needs. Every refusal and every silence is a BackupError."""

    def __init__(self, settings: Settings) -> None:
        self._url = urllib.parse.urlsplit(settings.qdrant["url"])
        ca = settings.qdrant["ca"]
        self._context = ssl.create_default_context(cafile=ca) if ca else None
        # The file that Qdrant itself reads: a changed key needs no second place.
        lines = credential("qdrant_keys").read_text().splitlines()
        self._key = next(line.removeprefix(KEY) for line in lines if line.startswith(KEY))

    def version(self) -> str:
        """Of the server."""
        return str(self._ask("GET", "/")["version"])

    def collections(self) -> list[str]:
        """Their names."""
        return sorted(item["name"] for item in self._result("GET", "/collections")["collections"])

    def aliases(self) -> dict[str, str]:
        """Alias to collection; no snapshot has them."""
        return {item["alias_name"]: item["collection_name"] for item in self._result("GET", "/aliases")["aliases"]}

    def count(self, collection: str) -> int:
        """Its points, exactly."""
        return int(self._result("POST", _path("collections", collection, "points", "count"), {"exact": True})["count"])

    def snapshot(self, collection: str, target: Path) -> tuple[int, int]:
        """Take one, bring it here, check it and remove it there. The least and the most points that it can hold."""
        before = self.count(collection)
        made = self._result("POST", _path("collections", collection, "snapshots") + "?wait=true", {})
        after = self.count(collection)
        where = _path("collections", collection, "snapshots", made["name"])
        try:
            found = self._download(where, target)
        finally:
            self._result("DELETE", where + "?wait=true")
        # An old collection's first snapshot may have no checksum there.
        if target.stat().st_size != made["size"] or made.get("checksum", found) not in (found, None):
            raise BackupError(f"the snapshot of {collection} arrived with another size or SHA-256 than Qdrant says")
        return min(before, after), max(before, after)

    def upload(self, collection: str, source: Path) -> None:
        """Put a snapshot into a collection, which is made where it is missing; Qdrant checks its SHA-256."""
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="snapshot"; filename="{source.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            with source.open("rb") as file:
                while part := file.read(CHUNK):
                    yield part
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(len(head) + source.stat().st_size + len(tail)),
        }
        path = _path("collections", collection, "snapshots", "upload")
        self._send("POST", f"{path}?priority=snapshot&wait=true&checksum={digest}", body(), headers)

    def drop(self, collection: str) -> None:
        """Gone afterwards, whether it was there or not."""
        self._ask("DELETE", _path("collections", collection) + "?timeout=60")

    def point(self, alias: str, collection: str) -> None:
        """Let an alias lead to a collection, wherever it led before."""
        actions: list[dict[str, Any]] = [{"delete_alias": {"alias_name": alias}}] if alias in self.aliases() else []
        actions.append({"create_alias": {"alias_name": alias, "collection_name": collection}})
        self._result("POST", "/collections/aliases", {"actions": actions})

    def _result(self, method: str, path: str, body: object = None) -> Any:
        return self._ask(method, path, body)["result"]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self._send(method, path, data, {"Content-Type": "application/json"}))

    def _send(self, method: str, path: str, body: bytes | Iterator[bytes] | None, headers: dict[str, str]) -> bytes:
        try:
            answer = self._answer(method, path, body, headers)
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BackupError(f"Qdrant does not answer at {self._url.geturl()}: {error}") from None
        if answer.status != 200:
            raise BackupError(
                f"Qdrant refuses {method} {path}: {answer.status} {content[:300].decode(errors='replace')}"
            )
        return content

    def _download(self, path: str, target: Path) -> str:
        digest = hashlib.sha256()
        try:
            answer = self._answer("GET", path, None, {})
            if answer.status != 200:
                raise BackupError(f"Qdrant refuses GET {path}: {answer.status}")
            with target.open("wb") as file:
                while part := answer.read(CHUNK):
                    digest.update(part)
                    file.write(part)
        except (OSError, http.client.HTTPException) as error:
            raise BackupError(f"the snapshot did not arrive: {error}") from None
        return digest.hexdigest()

    def _answer(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        host, port = str(self._url.hostname), self._url.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=1800, context=self._context)
            if self._url.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=1800)
        )
        connection.request(method, path, body, {"api-key": self._key, **headers})
        return connection.getresponse()
