"""Filters: the JSON of the API to the engine's conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from .errors import format_error
from .values import Json, array, need, number, obj, one_or_many, point_ids, text, whole

_CLAUSES = "must should must_not min_should"
_FIELD = "key match range geo_bounding_box geo_radius geo_polygon values_count is_empty is_null"
_MATCHES = "value any except text text_any phrase prefix substring"
_BOUNDS = ("gte", "gt", "lte", "lt")


def parse(value: Json, where: str = "filter") -> edge.Filter | None:
    """The engine's filter, or None for no filter. Raises ApiError 400."""
    return None if value is None else _clauses(value, where)


def _clauses(value: Json, where: str) -> edge.Filter:
    clauses = obj(value, where, _CLAUSES)
    minimum = clauses.get("min_should")
    if minimum is not None:
        shape = obj(minimum, f"{where}.min_should", "conditions min_count")
        minimum = edge.MinShould(
            [condition(item, where) for item in array(need(shape, "conditions", where), where)],
            whole(need(shape, "min_count", where), f"{where}.min_should.min_count"),
        )
    return edge.Filter(
        must=_conditions(clauses.get("must"), f"{where}.must"),
        should=_conditions(clauses.get("should"), f"{where}.should"),
        must_not=_conditions(clauses.get("must_not"), f"{where}.must_not"),
        min_should=minimum,
    )


def without_ids(base: edge.Filter | None, ids: set[Any]) -> edge.Filter | None:
    """`base` and not one of `ids` (a search by example doesn't find its example)."""
    if not ids:
        return base
    return edge.Filter(must=[base] if base is not None else None, must_not=[edge.HasIdCondition(ids)])


def _conditions(value: Json, where: str) -> list[Any] | None:
    found = [condition(item, where) for item in one_or_many(value)]
    return found or None


def condition(value: Json, where: str) -> Any:
    """One condition, told apart by its key as the API does; any other object is a nested filter."""
    if not isinstance(value, dict):
        raise format_error(f"{where}: expected a condition object")
    for key, reader in _CONDITIONS.items():
        if key in value:
            return reader(value, where)
    return _clauses(value, where)


def _nested(value: dict[str, Any], where: str) -> edge.NestedCondition:
    shape = obj(value["nested"], f"{where}.nested", "key filter")
    inner = _clauses(need(shape, "filter", where), f"{where}.nested.filter")
    return edge.NestedCondition(text(need(shape, "key", where), where), inner)


def _payload_key(value: Json, where: str) -> str:
    return text(need(obj(value, where, "key"), "key", where), where)


def _field(given: dict[str, Any], where: str) -> edge.FieldCondition:
    value = obj(given, where, _FIELD)
    if len([key for key in value if value[key] is not None]) < 2:
        raise format_error(f"{where}: a field condition needs `key` and at least one of: {_FIELD.removeprefix('key ')}")
    counts = value.get("values_count")
    return edge.FieldCondition(
        text(value["key"], f"{where}.key"),
        match=None if value.get("match") is None else _match(value["match"], f"{where}.match"),
        range=None if value.get("range") is None else _range(value["range"], f"{where}.range"),
        geo_bounding_box=_box(value.get("geo_bounding_box"), f"{where}.geo_bounding_box"),
        geo_radius=_radius(value.get("geo_radius"), f"{where}.geo_radius"),
        geo_polygon=_polygon(value.get("geo_polygon"), f"{where}.geo_polygon"),
        values_count=None if counts is None else edge.ValuesCount(**obj(counts, where, " ".join(_BOUNDS))),
        is_empty=value.get("is_empty"),
        is_null=value.get("is_null"),
    )


def _match(value: Json, where: str) -> Any:
    shape = obj(value, where, _MATCHES)
    given = [key for key in shape if shape[key] is not None]
    if len(given) != 1:
        raise format_error(f"{where}: expected exactly one of {_MATCHES}")
    key, wanted = given[0], shape[given[0]]
    if key == "value":
        if not isinstance(wanted, str | int | bool):
            raise format_error(f"{where}.value: expected a string, an integer or a boolean, got {wanted!r}")
        return edge.MatchValue(wanted)
    if key == "any":
        return edge.MatchAny(array(wanted, f"{where}.any"))
    if key == "except":
        return edge.MatchExcept(array(wanted, f"{where}.except"))
    textual: dict[str, Any] = {
        "text": edge.MatchText, "text_any": edge.MatchTextAny, "phrase": edge.MatchPhrase,
        "prefix": edge.MatchPrefix, "substring": edge.MatchSubstring,
    }  # fmt: skip
    return textual[key](text(wanted, f"{where}.{key}"))


def _range(value: Json, where: str) -> Any:
    bounds = {key: bound for key, bound in obj(value, where, " ".join(_BOUNDS)).items() if bound is not None}
    if bounds and all(isinstance(bound, str) for bound in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**{key: number(bound, f"{where}.{key}") for key, bound in bounds.items()})


def geo_point(value: Json, where: str) -> edge.GeoPoint:
    shape = obj(value, where, "lon lat")
    return edge.GeoPoint(number(need(shape, "lon", where), where), number(need(shape, "lat", where), where))


def _box(value: Json, where: str) -> edge.GeoBoundingBox | None:
    if value is None:
        return None
    shape = obj(value, where, "top_left bottom_right")
    corners = (geo_point(need(shape, key, where), f"{where}.{key}") for key in ("top_left", "bottom_right"))
    return edge.GeoBoundingBox(*corners)


def _radius(value: Json, where: str) -> edge.GeoRadius | None:
    if value is None:
        return None
    shape = obj(value, where, "center radius")
    center = geo_point(need(shape, "center", where), f"{where}.center")
    return edge.GeoRadius(center, number(need(shape, "radius", where), f"{where}.radius"))


def _polygon(value: Json, where: str) -> edge.GeoPolygon | None:
    if value is None:
        return None
    shape = obj(value, where, "exterior interiors")

    def line(ring: Json) -> list[edge.GeoPoint]:
        points = need(obj(ring, where, "points"), "points", where)
        return [geo_point(item, where) for item in array(points, where)]

    interiors = [line(ring) for ring in one_or_many(shape.get("interiors"))]
    return edge.GeoPolygon(line(need(shape, "exterior", where)), interiors or None)


_CONDITIONS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "key": _field,
    "is_empty": lambda value, where: edge.IsEmptyCondition(_payload_key(value["is_empty"], where)),
    "is_null": lambda value, where: edge.IsNullCondition(_payload_key(value["is_null"], where)),
    "has_id": lambda value, where: edge.HasIdCondition(set(point_ids(value["has_id"], f"{where}.has_id"))),
    "has_vector": lambda value, where: edge.HasVectorCondition(text(value["has_vector"], f"{where}.has_vector")),
    "nested": _nested,
}
