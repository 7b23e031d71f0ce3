"""JSON values to engine values and back: objects, point ids, vectors, payload selectors."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import qdrant_edge as edge

from .errors import format_error

Json = Any
PointId = int | UUID
HIDDEN_VECTOR = "standin-no-vectors"  # the engine refuses a collection without any vector; the real server doesn't


def obj(value: Json, where: str, allowed: str) -> dict[str, Any]:
    """`value` as an object whose keys are among the space-separated `allowed`. Raises ApiError 400."""
    if not isinstance(value, dict):
        raise format_error(f"{where}: expected an object, got {type(value).__name__}")
    unknown = set(value) - set(allowed.split())
    if unknown:
        raise format_error(f"{where}: unknown field `{min(unknown)}`, expected one of: {allowed}")
    return value


def need(value: dict[str, Any], key: str, where: str) -> Any:
    if value.get(key) is None:
        raise format_error(f"{where}: missing field `{key}`")
    return value[key]


def text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise format_error(f"{where}: expected a string")
    return value


def whole(value: Json, where: str, low: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise format_error(f"{where}: expected an integer not below {low}, got {value!r}")
    return value


def number(value: Json, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise format_error(f"{where}: expected a number, got {value!r}")
    return float(value)


def array(value: Json, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise format_error(f"{where}: expected an array")
    return value


def one_or_many(value: Json) -> list[Any]:
    """A field that is one value or an array of them; null is none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def is_point_id(value: Json) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def point_id(value: Json) -> PointId:
    """An unsigned 64-bit integer or a UUID in any of its spellings."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            pass
    raise format_error(f"value {value!r} is not a valid point ID, valid are an unsigned integer or a UUID")


def point_ids(value: Json, where: str) -> list[PointId]:
    return [point_id(item) for item in array(value, where)]


def point_id_json(value: Any) -> int | str:
    return value if isinstance(value, int) else str(value)


def named_vector(value: Json, where: str) -> Any:
    """One vector: dense `[f]`, multi `[[f]]`, or sparse `{indices, values}`."""
    if isinstance(value, dict):
        sparse = obj(value, where, "indices values")
        indices = array(need(sparse, "indices", where), f"{where}.indices")
        values = array(need(sparse, "values", where), f"{where}.values")
        if len(indices) != len(values):
            raise format_error(f"{where}: {len(indices)} indices but {len(values)} values")
        if len(set(indices)) != len(indices):
            raise format_error(f"{where}: indices must be unique")
        return edge.SparseVector(indices, values)
    return array(value, where)


def point_vectors(value: Json, where: str) -> Any:
    """All vectors of a point: the unnamed one or an object of named ones."""
    if isinstance(value, dict):
        return {name: named_vector(item, f"{where}.{name}") for name, item in value.items()}
    return named_vector(value, where)


def vector_json(value: Any) -> Json:
    if isinstance(value, edge.SparseVector):
        return {"indices": value.indices, "values": value.values}
    if isinstance(value, dict):
        return {name: vector_json(item) for name, item in value.items() if name != HIDDEN_VECTOR}
    return value


def with_payload(value: Json, default: bool) -> Any:
    if value is None:
        return default
    if isinstance(value, dict):
        selector = obj(value, "with_payload", "include exclude")
        if selector.get("include") is not None:
            return edge.PayloadSelector.Include(array(selector["include"], "with_payload.include"))
        return edge.PayloadSelector.Exclude(array(need(selector, "exclude", "with_payload"), "with_payload.exclude"))
    if isinstance(value, bool | list):
        return value
    raise format_error("with_payload: expected a boolean, an array of names, or {include|exclude}")


def with_vector(value: Json) -> Any:
    if value is None:
        return False
    if isinstance(value, bool | list):
        return value
    raise format_error("with_vector: expected a boolean or an array of names")


def record_json(point: Any, payload: Any, vector: Any) -> dict[str, Any]:
    """A stored or scored point as the API gives it; fields not asked for are null."""
    found: dict[str, Any] = {"id": point_id_json(point.id)}
    if isinstance(point, edge.ScoredPoint):
        found |= {"version": point.version, "score": point.score}
    found["payload"] = None if payload is False else (point.payload or {})
    if vector is not False and vector != []:
        found["vector"] = vector_json(point.vector if point.vector is not None else {})
    if point.order_value is not None:
        found["order_value"] = point.order_value
    return found
