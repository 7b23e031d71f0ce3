"""Changes to points: upsert, vectors, payload, deletion, payload indexes. Each holds the collection's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from . import filters, schema
from .collection import Collection
from .errors import engine_call, format_error, wrong_input
from .values import Json, array, need, obj, point_id, point_ids, point_vectors, text

Operation = edge.UpdateOperation
_MODES = {
    None: None, "upsert": edge.UpdateMode.Upsert, "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}  # fmt: skip
ByIds = Callable[[Any], edge.UpdateOperation]
ByFilter = Callable[[Any], edge.UpdateOperation]


def upsert(body: Json) -> edge.UpdateOperation:
    shape = obj(body, "upsert", "points batch shard_key update_filter update_mode")
    if shape.get("update_mode") not in _MODES:
        raise format_error("update_mode: expected upsert, insert_only or update_only")
    rows = shape.get("batch") is None
    points = array(need(shape, "points", "upsert"), "points") if rows else _batch(shape["batch"])
    if not points:
        raise wrong_input("Empty update request")
    condition = filters.parse(shape.get("update_filter"), "update_filter")
    return Operation.upsert_points([_point(item) for item in points], condition, _MODES[shape.get("update_mode")])


def _point(value: Json) -> edge.Point:
    shape = obj(value, "point", "id vector payload")
    if "vector" not in shape or "id" not in shape:
        raise format_error("point: `id` and `vector` are required")
    return edge.Point(point_id(shape["id"]), point_vectors(shape["vector"], "vector"), shape.get("payload"))


def _batch(value: Json) -> list[dict[str, Any]]:
    shape = obj(value, "batch", "ids vectors payloads")
    ids = array(need(shape, "ids", "batch"), "batch.ids")
    vectors, payloads = need(shape, "vectors", "batch"), shape.get("payloads") or [None] * len(ids)
    columns = list(vectors.values()) if isinstance(vectors, dict) else [array(vectors, "batch.vectors")]
    if any(len(column) != len(ids) for column in [*columns, payloads]):
        raise wrong_input(f"batch: ids, vectors and payloads differ in length ({len(ids)} ids)")
    if isinstance(vectors, dict):
        rows: list[Any] = [{name: vectors[name][index] for name in vectors} for index in range(len(ids))]
    else:
        rows = vectors
    return [{"id": i, "vector": row, "payload": payload} for i, row, payload in zip(ids, rows, payloads, strict=True)]


def delete_points(body: Json) -> edge.UpdateOperation:
    shape = obj(body, "delete", "points filter shard_key")
    return _selected(shape, Operation.delete_points, Operation.delete_points_by_filter)


def update_vectors(body: Json) -> edge.UpdateOperation:
    shape = obj(body, "update vectors", "points shard_key update_filter")
    points = []
    for item in array(need(shape, "points", "update vectors"), "points"):
        point = obj(item, "point", "id vector")
        vectors = point_vectors(need(point, "vector", "point"), "vector")
        points.append(edge.PointVectors(point_id(need(point, "id", "point")), vectors))
    return Operation.update_vectors(points, filters.parse(shape.get("update_filter"), "update_filter"))


def delete_vectors(body: Json) -> edge.UpdateOperation:
    shape = obj(body, "delete vectors", "points filter vector shard_key")
    names = [text(name, "vector") for name in array(need(shape, "vector", "delete vectors"), "vector")]
    return _selected(
        shape,
        lambda ids: Operation.delete_vectors(ids, names),
        lambda found: Operation.delete_vectors_by_filter(found, names),
    )


def set_payload(body: Json) -> edge.UpdateOperation:
    payload, key, shape = _payload(body)
    return _selected(
        shape,
        lambda ids: Operation.set_payload(ids, payload, key),
        lambda found: Operation.set_payload_by_filter(found, payload, key),
    )


def overwrite_payload(body: Json) -> edge.UpdateOperation:
    payload, key, shape = _payload(body)
    return _selected(
        shape,
        lambda ids: Operation.overwrite_payload(ids, payload, key),
        lambda found: Operation.overwrite_payload_by_filter(found, payload, key),
    )


def _payload(body: Json) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
    shape = obj(body, "payload", "payload points filter key shard_key")
    payload = need(shape, "payload", "payload")
    if not isinstance(payload, dict):
        raise format_error("payload: expected an object")
    return payload, shape.get("key"), shape


def delete_payload(body: Json) -> edge.UpdateOperation:
    shape = obj(body, "delete payload", "keys points filter shard_key")
    keys = [text(key, "keys") for key in array(need(shape, "keys", "delete payload"), "keys")]
    return _selected(
        shape,
        lambda ids: Operation.delete_payload(ids, keys),
        lambda found: Operation.delete_payload_by_filter(found, keys),
    )


def clear_payload(body: Json) -> edge.UpdateOperation:
    return _selected(
        obj(body, "clear payload", "points filter shard_key"),
        Operation.clear_payload,
        Operation.clear_payload_by_filter,
    )


def _selected(shape: dict[str, Any], by_ids: ByIds, by_filter: ByFilter) -> edge.UpdateOperation:
    if shape.get("points") is not None:
        return by_ids(point_ids(shape["points"], "points"))
    if shape.get("filter") is not None:
        return by_filter(filters.parse(shape["filter"]))
    raise wrong_input("Bad request: either `points` or `filter` must be given")


_BATCH: dict[str, Callable[[Json], edge.UpdateOperation]] = {
    "upsert": upsert, "delete": delete_points, "set_payload": set_payload, "overwrite_payload": overwrite_payload,
    "delete_payload": delete_payload, "clear_payload": clear_payload, "update_vectors": update_vectors,
    "delete_vectors": delete_vectors,
}  # fmt: skip


def batch(body: Json) -> list[edge.UpdateOperation]:
    """The operations of `/points/batch`: all are read before the first one is applied."""
    operations = []
    for item in array(need(obj(body, "batch", "operations"), "operations", "batch"), "operations"):
        shape = obj(item, "operation", " ".join(_BATCH))
        if len(shape) != 1:
            raise format_error("operation: expected exactly one of " + ", ".join(_BATCH))
        kind, inner = next(iter(shape.items()))
        operations.append(_BATCH[kind](inner))
    return operations


async def apply(collection: Collection, operations: list[edge.UpdateOperation], status: str) -> list[dict[str, Any]]:
    """Apply operations in order. Each is in the engine's WAL, and visible, when this returns."""
    async with collection.lock:
        return [{"operation_id": collection.update(operation), "status": status} for operation in operations]


async def create_index(collection: Collection, body: Json) -> dict[str, Any]:
    shape = obj(body, "index", "field_name field_schema")
    name = text(need(shape, "field_name", "index"), "field_name")
    with engine_call():
        operation = Operation.create_field_index(name, schema.field_index(shape.get("field_schema")))
    async with collection.lock:
        number = collection.update(operation)
        schema_given = shape["field_schema"]
        collection.indexes[name] = None if isinstance(schema_given, str) else schema_given
        collection.save_description()
    return {"operation_id": number, "status": "completed"}


async def delete_index(collection: Collection, name: str) -> dict[str, Any]:
    async with collection.lock:
        number = collection.update(Operation.delete_field_index(name))
        collection.indexes.pop(name, None)
        collection.save_description()
    return {"operation_id": number, "status": "completed"}
