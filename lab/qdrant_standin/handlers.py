"""What each route does: reads the request, calls the domain, returns the result."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from . import COMMIT, TITLE, metrics, reads, snapshots, updates, version
from .errors import ApiError, engine_call, wrong_input
from .server import Handler, Server
from .values import array, need, obj, text


async def root(_server: Server, _request: Request) -> Response:
    return JSONResponse({"title": TITLE, "version": version(), "commit": COMMIT})


async def alive(_server: Server, _request: Request) -> Response:
    return PlainTextResponse("healthz check passed")


async def ready(server: Server, _request: Request) -> Response:
    if time.monotonic() < server.not_ready_until:
        return PlainTextResponse("some shards are not ready", 503)
    return PlainTextResponse("all shards are ready")


async def show_metrics(server: Server, _request: Request) -> Response:
    rendered = metrics.render(server.storage, server.responses, server.config.metrics_prefix, server.snapshots_created)
    return PlainTextResponse(rendered)


async def telemetry(server: Server, _request: Request) -> Any:
    collections = {"number_of_collections": len(server.storage.collections)}
    return {"id": "lab-stand-in", "app": {"name": TITLE, "version": version()}, "collections": collections}


async def cluster(_server: Server, _request: Request) -> Any:
    return {"status": "disabled"}


async def issues(_server: Server, _request: Request) -> Any:
    return {"issues": []}


async def collections(server: Server, _request: Request) -> Any:
    return {"collections": [{"name": name} for name in sorted(server.storage.collections)]}


async def create_collection(server: Server, request: Request) -> Any:
    return server.storage.create(request.path_params["collection"], await server.body(request))


async def describe(server: Server, request: Request) -> Any:
    return server.collection(request).describe(server.config.flush_interval_s)


async def change_collection(server: Server, request: Request) -> Any:
    """PATCH: remembered and reported; nothing in the stand-in's engine depends on these parameters."""
    allowed = (
        "vectors optimizers_config params hnsw_config quantization_config sparse_vectors strict_mode_config metadata"
    )
    collection, body = server.collection(request), obj(await server.body(request), "collection", allowed)
    for key, change in body.items():
        if isinstance(change, dict) and key in ("optimizers_config", "hnsw_config", "metadata"):
            collection.create[key] = (collection.create.get(key) or {}) | change
        elif key == "params" and change:
            collection.create |= obj(change, "params", "replication_factor write_consistency_factor on_disk_payload")
        elif change is not None:
            raise wrong_input(f"the lab stand-in does not change `{key}` of a collection")
    collection.save_description()
    return True


async def delete_collection(server: Server, request: Request) -> Any:
    name = request.path_params["collection"]
    collection = server.storage.collections.get(name)
    if collection is None:
        return False
    async with collection.lock:
        return server.storage.delete(name)


async def exists(server: Server, request: Request) -> Any:
    name = request.path_params["collection"]
    return {"exists": server.storage.aliases.get(name, name) in server.storage.collections}


async def collection_cluster(server: Server, request: Request) -> Any:
    shard = {"shard_id": 0, "points_count": server.collection(request).count(), "state": "Active"}
    return {
        "peer_id": snapshots.PEER_ID,
        "shard_count": 1,
        "local_shards": [shard],
        "remote_shards": [],
        "shard_transfers": [],
    }


async def aliases(server: Server, _request: Request) -> Any:
    return {"aliases": [{"alias_name": a, "collection_name": c} for a, c in sorted(server.storage.aliases.items())]}


async def collection_aliases(server: Server, request: Request) -> Any:
    name = server.collection(request).name
    return {
        "aliases": [
            {"alias_name": a, "collection_name": c} for a, c in sorted(server.storage.aliases.items()) if c == name
        ]
    }


async def change_aliases(server: Server, request: Request) -> Any:
    body = obj(await server.body(request), "aliases", "actions")
    return server.storage.change_aliases(array(need(body, "actions", "aliases"), "actions"))


def acknowledgement(request: Request) -> str:
    """What an applied change is called: a client that didn't ask to wait is told less, as by the real server."""
    return "completed" if request.query_params.get("wait") == "true" else "acknowledged"


def update(parse: Any) -> Handler:
    async def handler(server: Server, request: Request) -> Any:
        body = await server.body(request)
        with engine_call():
            operation = parse(body)
        return (await updates.apply(server.collection(request), [operation], acknowledgement(request)))[0]

    return handler


def read(answer: Any) -> Handler:
    async def handler(server: Server, request: Request) -> Any:
        body = await server.body(request)
        with engine_call():
            return answer(server.collection(request), body)

    return handler


def query(answer: Any) -> Handler:
    async def handler(server: Server, request: Request) -> Any:
        body = await server.body(request)
        with engine_call():
            return answer(server.storage, server.collection(request), body)

    return handler


async def point(server: Server, request: Request) -> Any:
    return reads.retrieve_one(server.collection(request), request.path_params["id"])


async def batch(server: Server, request: Request) -> Any:
    body = await server.body(request)
    with engine_call():
        operations = updates.batch(body)
    return await updates.apply(server.collection(request), operations, acknowledgement(request))


async def create_index(server: Server, request: Request) -> Any:
    return await updates.create_index(server.collection(request), await server.body(request))


async def delete_index(server: Server, request: Request) -> Any:
    return await updates.delete_index(server.collection(request), request.path_params["field"])


def snapshot_directory(server: Server, request: Request) -> Path:
    """Where the snapshots of this route live: of a collection, or the full ones."""
    if "collection" not in request.path_params:
        return server.config.snapshots
    return server.config.snapshots / server.collection(request).name


async def list_snapshots(server: Server, request: Request) -> Any:
    return await asyncio.to_thread(snapshots.list_in, snapshot_directory(server, request))


async def create_snapshot(server: Server, request: Request) -> Any:
    directory = snapshot_directory(server, request)
    if "collection" in request.path_params:
        made = await snapshots.create(server.collection(request), directory)
    else:
        made = await snapshots.create_full(server.storage, directory)
    server.snapshots_created += 1
    return made


async def download_snapshot(server: Server, request: Request) -> Response:
    return FileResponse(snapshots.find(snapshot_directory(server, request), request.path_params["snapshot"]))


async def delete_snapshot(server: Server, request: Request) -> Any:
    return snapshots.remove(snapshot_directory(server, request), request.path_params["snapshot"])


async def upload_snapshot(server: Server, request: Request) -> Any:
    async with request.form() as form:
        upload = form.get("snapshot")
        if not isinstance(upload, UploadFile):
            raise wrong_input("multipart field `snapshot` is missing")
        with tempfile.NamedTemporaryFile(dir=server.storage.path / "tmp") as file:
            while part := await upload.read(1 << 20):
                file.write(part)
            file.flush()
            name, checksum = request.path_params["collection"], request.query_params.get("checksum")
            return await snapshots.recover(server.storage, name, Path(file.name), checksum)


async def recover_snapshot(server: Server, request: Request) -> Any:
    body = obj(await server.body(request), "recover", "location priority checksum api_key")
    location = urlsplit(text(need(body, "location", "recover"), "location"))
    if location.scheme in ("http", "https"):
        state = (
            "the lab stand-in restores from file:// only"
            if server.config.url_recovery
            else "recovery from a URL is disabled"
        )
        raise ApiError(400 if server.config.url_recovery else 403, f"Forbidden: {state}; upload the snapshot instead")
    path = Path(unquote(location.path))
    if location.scheme != "file" or not await asyncio.to_thread(path.is_file):
        raise wrong_input(f"Snapshot file {path} does not exist")
    return await snapshots.recover(server.storage, request.path_params["collection"], path, body.get("checksum"))
