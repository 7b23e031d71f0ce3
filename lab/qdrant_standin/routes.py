"""The REST surface: one row a route."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware

from . import handlers, reads, updates
from .auth import ApiKeys
from .server import Handler, Server, lifespan, route

_SERVICE: list[tuple[str, str, Handler]] = [
    ("GET", "/", handlers.root),
    ("GET", "/healthz", handlers.alive),
    ("GET", "/livez", handlers.alive),
    ("GET", "/readyz", handlers.ready),
    ("GET", "/metrics", handlers.show_metrics),
    ("GET", "/telemetry", handlers.telemetry),
    ("GET", "/cluster", handlers.cluster),
    ("GET", "/issues", handlers.issues),
    ("GET", "/aliases", handlers.aliases),
    ("GET", "/snapshots", handlers.list_snapshots),
    ("POST", "/snapshots", handlers.create_snapshot),
    ("GET", "/snapshots/{snapshot}", handlers.download_snapshot),
    ("DELETE", "/snapshots/{snapshot}", handlers.delete_snapshot),
    ("GET", "/collections", handlers.collections),
    ("POST", "/collections/aliases", handlers.change_aliases),
]
_COLLECTION: list[tuple[str, str, Handler]] = [
    ("PUT", "", handlers.create_collection),
    ("GET", "", handlers.describe),
    ("PATCH", "", handlers.change_collection),
    ("DELETE", "", handlers.delete_collection),
    ("GET", "/exists", handlers.exists),
    ("GET", "/cluster", handlers.collection_cluster),
    ("GET", "/aliases", handlers.collection_aliases),
    ("PUT", "/index", handlers.create_index),
    ("DELETE", "/index/{field}", handlers.delete_index),
    ("POST", "/facet", handlers.read(reads.facet)),
    ("PUT", "/points", handlers.update(updates.upsert)),
    ("POST", "/points", handlers.read(reads.retrieve)),
    ("GET", "/points/{id}", handlers.point),
    ("POST", "/points/delete", handlers.update(updates.delete_points)),
    ("POST", "/points/batch", handlers.batch),
    ("PUT", "/points/vectors", handlers.update(updates.update_vectors)),
    ("POST", "/points/vectors/delete", handlers.update(updates.delete_vectors)),
    ("POST", "/points/payload", handlers.update(updates.set_payload)),
    ("PUT", "/points/payload", handlers.update(updates.overwrite_payload)),
    ("POST", "/points/payload/delete", handlers.update(updates.delete_payload)),
    ("POST", "/points/payload/clear", handlers.update(updates.clear_payload)),
    ("POST", "/points/scroll", handlers.read(reads.scroll)),
    ("POST", "/points/count", handlers.read(reads.count)),
    ("POST", "/points/query", handlers.query(reads.query)),
    ("POST", "/points/query/batch", handlers.query(reads.query_batch)),
    ("POST", "/points/query/groups", handlers.query(reads.query_groups)),
    ("GET", "/snapshots", handlers.list_snapshots),
    ("POST", "/snapshots", handlers.create_snapshot),
    ("POST", "/snapshots/upload", handlers.upload_snapshot),
    ("PUT", "/snapshots/recover", handlers.recover_snapshot),
    ("GET", "/snapshots/{snapshot}", handlers.download_snapshot),
    ("DELETE", "/snapshots/{snapshot}", handlers.delete_snapshot),
]


def application(server: Server) -> Starlette:
    """The ASGI application. Keys are checked before anything of a request's body is read."""
    table = [
        *_SERVICE,
        *((method, "/collections/{collection}" + path, handler) for method, path, handler in _COLLECTION),
    ]
    return Starlette(
        routes=[route(server, method, path, handler) for method, path, handler in table],
        middleware=[Middleware(ApiKeys, config=server.config)],
        lifespan=lifespan(server),
    )
