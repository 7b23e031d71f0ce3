"""Reads a filter from a request's JSON, and refuses what can't be used where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.errors import AnchorageError, ErrorCode
from app.vectors.filters import (
    BUILT_IN,
    FLAGS,
    METADATA,
    MOMENTS,
    AllOf,
    AnyOf,
    Between,
    Exists,
    Filter,
    Not,
    OneOf,
    Scalar,
    moment,
)

MAX_DEPTH = 4
MAX_CONDITIONS = 64
MAX_VALUES = 256
MAX_TEXT = 1000
# Above this, whole numbers are no longer told apart as 64-bit floats, which the engines compare.
MAX_NUMBER = 2**53
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_HALF = re.compile("[\ud800-\udfff]")
_BOUNDS = ("gt", "gte", "lt", "lte")


class FilterError(AnchorageError):
    """A filter that can't be used; ``path`` leads to the part that is wrong."""

    code = ErrorCode.VALIDATION_FAILED

    def __init__(self, path: Sequence[str], message: str) -> None:
        super().__init__(f"{'.'.join(['filters', *path])}: {message}")
        self.path = tuple(path)
        self.message = message


def parse_filter(given: Mapping[str, Any]) -> Filter:
    """Read ``{"year": {"gte": 2020}, "lang": "en", "$or": [{"tag": {"in": ["a", "b"]}}, …]}``; parts are joined by and.

    Raises:
        FilterError: names the field and what is wrong with it.
    """
    return _Reader().group(given, (), 1)


class _Reader:
    """Reads one filter, and counts what it is made of."""

    def __init__(self) -> None:
        self._conditions = 0

    def group(self, given: object, path: tuple[str, ...], depth: int) -> Filter:
        if not isinstance(given, Mapping):
            raise FilterError(path, "must be an object of fields and conditions")
        if depth > MAX_DEPTH:
            raise FilterError(path, f"is nested more than {MAX_DEPTH} levels deep")
        parts: list[Filter] = []
        for key, value in given.items():
            parts.append(self._part(str(key), value, (*path, str(key)), depth))
            if self._conditions > MAX_CONDITIONS:
                raise FilterError(path, f"holds more than {MAX_CONDITIONS} conditions")
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _part(self, key: str, value: object, path: tuple[str, ...], depth: int) -> Filter:
        if key == "$not":
            return Not(self.group(value, path, depth + 1))
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise FilterError(path, "must be a list of at least one filter")
            parts = tuple(self.group(item, (*path, str(n)), depth + 1) for n, item in enumerate(value))
            return AllOf(parts) if key == "$and" else AnyOf(parts)
        field = _field(key, path)
        if isinstance(value, Mapping):
            if not value:
                raise FilterError(path, 'names no condition, such as {"eq": …}')
            return self._conditions_of(field, value, path)
        self._conditions += 1
        return _equals(field, value, path)

    def _conditions_of(self, field: str, given: Mapping[Any, Any], path: tuple[str, ...]) -> Filter:
        parts: list[Filter] = []
        if bounds := {name: given[name] for name in _BOUNDS if name in given}:
            parts.append(_between(field, bounds, path))
        for name, value in given.items():
            self._conditions += 1
            if name in _BOUNDS:
                continue
            if name not in _OPERATORS:
                known = ", ".join([*_OPERATORS, *_BOUNDS])
                raise FilterError((*path, str(name)), f"is no condition; there are {known}")
            parts.append(_OPERATORS[name](field, value, (*path, name)))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _field(key: str, path: tuple[str, ...]) -> str:
    if key in BUILT_IN:
        return key
    name = key.removeprefix(f"{METADATA}.")
    if not _KEY.fullmatch(name):
        raise FilterError(path, "is no field: letters, digits and _ (at most 64, no digit first), or $and, $or, $not")
    return f"{METADATA}.{name}"


def _scalar(value: object, path: tuple[str, ...]) -> Scalar | bool:
    if isinstance(value, str):
        if len(value) > MAX_TEXT or "\x00" in value or _HALF.search(value):
            raise FilterError(path, f"must be a text of at most {MAX_TEXT} characters, without NUL or half characters")
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not -MAX_NUMBER <= value <= MAX_NUMBER:
            raise FilterError(path, "must be a number between -2^53 and 2^53")
        return value
    raise FilterError(path, "must be a text, a number, true or false")


def _equals(field: str, value: object, path: tuple[str, ...]) -> Filter:
    return _one_of(field, [_scalar(value, path)])


def _one_of(field: str, values: Sequence[Scalar | bool]) -> Filter:
    others = tuple(value for value in values if not isinstance(value, bool))
    flags = tuple(str(value).lower() for value in values if isinstance(value, bool))
    if not flags or field in BUILT_IN:
        return OneOf(field, others)
    flagged = OneOf(_beside(field, FLAGS), flags)
    return AnyOf((OneOf(field, others), flagged)) if others else flagged


def _beside(field: str, kind: str) -> str:
    """Where another form of a metadata field stands."""
    return f"{kind}.{field.removeprefix(f'{METADATA}.')}"


def _in(field: str, value: object, path: tuple[str, ...]) -> Filter:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_VALUES:
        raise FilterError(path, f"must be a list of 1 to {MAX_VALUES} values")
    return _one_of(field, [_scalar(item, (*path, str(n))) for n, item in enumerate(value)])


def _exists(field: str, value: object, path: tuple[str, ...]) -> Filter:
    if not isinstance(value, bool):
        raise FilterError(path, "must be true or false")
    return Exists(field) if value else Not(Exists(field))


def _between(field: str, given: Mapping[str, object], path: tuple[str, ...]) -> Filter:
    if field in BUILT_IN:
        raise FilterError((*path, next(iter(given))), f"can't be asked of {field}, which is a text; see eq, in, exists")
    numbers: dict[str, float] = {}
    dates = 0
    for name, value in given.items():
        seconds = moment(value)
        dates += seconds is not None
        if isinstance(value, str) and seconds is None:
            raise FilterError((*path, name), 'must be a number or an ISO date, such as "2026-01-31"')
        if isinstance(value, bool):
            raise FilterError((*path, name), "must be a number or an ISO date")
        numbers[name] = seconds if seconds is not None else float(_scalar(value, (*path, name)))
    if dates not in (0, len(given)):
        raise FilterError(path, "mixes numbers and dates in one range")
    return Between(_beside(field, MOMENTS) if dates else field, **numbers)


_OPERATORS: dict[str, Callable[[str, Any, tuple[str, ...]], Filter]] = {
    "eq": _equals,
    "ne": lambda field, value, path: Not(_equals(field, value, path)),
    "in": _in,
    "nin": lambda field, value, path: Not(_in(field, value, path)),
    "exists": _exists,
}
