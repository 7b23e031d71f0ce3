"""Snapshots and aliases: what was saved comes back, and a bad file changes nothing."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import models

from .process import Standin


@pytest.fixture
def server(fragile: Standin) -> Standin:
    fragile.start()
    client = fragile.client()
    client.create_collection(
        "docs",
        vectors_config={"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.create_payload_index("docs", "tenant", models.KeywordIndexParams(type="keyword", is_tenant=True))
    vector: dict[str, Any] = {"dense": [1.0, 0.0], "bm25": models.SparseVector(indices=[1], values=[1.0])}
    client.upsert("docs", [models.PointStruct(id=i, vector=vector, payload={"tenant": f"t{i % 2}"}) for i in range(50)])
    alias = models.CreateAlias(collection_name="docs", alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    return fragile


def state(server: Standin) -> tuple[int, int, bool]:
    client = server.client()
    one = models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="t1"))])
    found = client.query_points(
        "live", query=models.SparseVector(indices=[1], values=[1.0]), using="bm25", limit=100, query_filter=one
    )
    schema = client.get_collection("live").payload_schema["tenant"]
    assert isinstance(schema.params, models.KeywordIndexParams)
    return client.count("live").count, len(found.points), bool(schema.params.is_tenant)


def take(server: Standin) -> tuple[Path, str]:
    """A downloaded snapshot and its checksum, which must be that of the bytes."""
    with server.http() as http:
        made = http.post("/collections/docs/snapshots").json()["result"]
        assert http.get("/collections/docs/snapshots").json()["result"] == [made]
        content = http.get(f"/collections/docs/snapshots/{made['name']}").content
    assert hashlib.sha256(content).hexdigest() == made["checksum"]
    path = server.directory / "downloaded"
    path.write_bytes(content)
    return path, made["checksum"]


def upload(http: httpx.Client, path: Path, **query: str) -> httpx.Response:
    with path.open("rb") as file:
        return http.post("/collections/docs/snapshots/upload", params=query, files={"snapshot": file})


def test_upload_brings_the_collection_back(server: Standin) -> None:
    saved, checksum = take(server)
    client = server.client()
    client.delete("live", models.PointIdsList(points=list(range(25))))
    with server.http() as http:
        assert upload(http, saved, checksum=checksum, priority="snapshot").status_code == 200
    assert state(server) == (50, 25, True)
    server.end()
    server.start()
    assert state(server) == (50, 25, True)


def test_recover_from_file_into_a_new_collection_behind_the_alias(server: Standin) -> None:
    saved, _ = take(server)
    with server.http() as http:
        body = {"location": f"file://{saved}"}
        assert http.put("/collections/docs-2/snapshots/recover", json=body).json()["result"] is True
        swap = [
            {"delete_alias": {"alias_name": "live"}},
            {"create_alias": {"collection_name": "docs-2", "alias_name": "live"}},
        ]
        assert http.post("/collections/aliases", json={"actions": swap}).status_code == 200
        http.delete("/collections/docs")
    assert state(server) == (50, 25, True)


def test_failed_alias_change_changes_nothing(server: Standin) -> None:
    with server.http() as http:
        actions = [
            {"delete_alias": {"alias_name": "live"}},
            {"create_alias": {"collection_name": "no", "alias_name": "live"}},
        ]
        assert http.post("/collections/aliases", json={"actions": actions}).status_code == 404
        assert http.get("/aliases").json()["result"]["aliases"] == [{"alias_name": "live", "collection_name": "docs"}]


def test_bad_snapshots_are_refused_and_harm_nothing(server: Standin) -> None:
    saved, checksum = take(server)
    half = server.directory / "half"
    half.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    junk = server.directory / "junk"
    junk.write_bytes(b"not a snapshot")
    with server.http() as http:
        assert upload(http, saved, checksum="0" * 64).status_code == 400
        assert upload(http, half).status_code == 400
        assert upload(http, junk).status_code == 400
        assert upload(http, half, checksum=checksum).status_code == 400
    assert state(server) == (50, 25, True)


def test_full_snapshot_restores_an_emptied_server(server: Standin) -> None:
    with server.http() as http:
        made = http.post("/snapshots").json()["result"]
    server.end()
    shutil.rmtree(server.directory / "storage")
    archive = server.directory / "snapshots" / made["name"]
    server.start("--storage-snapshot", str(archive))
    assert state(server) == (50, 25, True)
    server.end()
    refused = server.spawn("--storage-snapshot", str(archive))
    _, errors = refused.communicate(timeout=20)
    assert refused.returncode == 1
    assert b"already exists. Use --force-snapshot" in errors
    server.start("--storage-snapshot", str(archive), "--force-snapshot")
    assert state(server) == (50, 25, True)
