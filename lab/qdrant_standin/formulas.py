"""Score formulas (`query: {formula: ...}`): the JSON expression tree to the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from . import filters
from .errors import format_error
from .values import Json, array, need, number, obj, text

Expression = edge.Expression
_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": Expression.Neg, "abs": Expression.Abs, "sqrt": Expression.Sqrt, "exp": Expression.Exp,
    "log10": Expression.Log10, "ln": Expression.Ln,
}  # fmt: skip
_NARY: dict[str, Callable[[list[Any]], Any]] = {"mult": Expression.Mult, "sum": Expression.Sum}
_DECAYS = {"lin_decay": edge.DecayKind.Lin, "exp_decay": edge.DecayKind.Exp, "gauss_decay": edge.DecayKind.Gauss}


def parse(value: Json, defaults: Json, where: str) -> edge.Formula:
    return edge.Formula(_expression(value, where), {} if defaults is None else obj(defaults, where, " ".join(defaults)))


def _expression(value: Json, where: str) -> Any:
    if isinstance(value, str):
        return Expression.Variable(value)
    if not isinstance(value, dict):
        return Expression.Constant(number(value, where))
    if "key" in value or len(value) != 1:
        return Expression.Condition(filters.condition(value, where))
    key, inner = next(iter(value.items()))
    if key in _UNARY:
        return _UNARY[key](_expression(inner, where))
    if key in _NARY:
        return _NARY[key]([_expression(item, where) for item in array(inner, f"{where}.{key}")])
    return _decay(key, inner, where) if key in _DECAYS else _special(key, inner, value, where)


def _special(key: str, inner: Json, value: Json, where: str) -> Any:
    if key == "div":
        body = obj(inner, where, "left right by_zero_default")
        left, right = (_expression(need(body, side, where), where) for side in ("left", "right"))
        return Expression.Div(left, right, body.get("by_zero_default"))
    if key == "pow":
        body = obj(inner, where, "base exponent")
        base, exponent = (_expression(need(body, part, where), where) for part in ("base", "exponent"))
        return Expression.Pow(base, exponent)
    if key == "geo_distance":
        body = obj(inner, where, "origin to")
        origin = filters.geo_point(need(body, "origin", where), where)
        return Expression.GeoDistance(origin, text(need(body, "to", where), where))
    if key == "datetime":
        return Expression.Datetime(text(inner, where))
    if key == "datetime_key":
        return Expression.DatetimeKey(text(inner, where))
    if key in ("must", "should", "must_not", "min_should", "is_empty", "is_null", "has_id", "has_vector", "nested"):
        return Expression.Condition(filters.condition(value, where))
    raise format_error(f"{where}: unknown expression `{key}`")


def _decay(key: str, inner: Json, where: str) -> Any:
    body = obj(inner, where, "x target scale midpoint")
    target = body.get("target")
    return Expression.Decay(
        _DECAYS[key],
        _expression(need(body, "x", where), where),
        None if target is None else _expression(target, where),
        body.get("midpoint"),
        body.get("scale"),
    )
