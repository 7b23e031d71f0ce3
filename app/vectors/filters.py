"""Filters over a document's own fields and its owner's metadata: their form, their reading and their meaning.

``matches`` is what a filter means. The indexes translate it (``qdrant.py``, ``edge.py``, ``pgvector.py``), the
database applies it again to what they propose, and the tests hold every index to it.

A field's value may be a list: a condition holds when it holds for one of its items. Numbers are compared as numbers,
texts by equality, dates (ISO 8601, a date or a moment; UTC where no zone is named) as moments. Values of different
types are never equal: ``1`` is neither ``"1"`` nor ``true``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.errors import AnchorageError, ErrorCode

Scalar = str | int | float

BUILT_IN = ("document_id", "source", "title", "media_type")
METADATA, MOMENTS, FLAGS = "metadata", "moments", "flags"
MAX_DEPTH = 4
MAX_CONDITIONS = 64
MAX_VALUES = 256
MAX_TEXT = 1000
# Above this, whole numbers are no longer told apart as 64-bit floats, which the engines compare.
MAX_NUMBER = 2**53
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_HALF = re.compile("[\ud800-\udfff]")
_BOUNDS = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field, or an item of it, equals one of the values, which are texts and numbers.

    Of true and false the ``field`` is one of ``flags``: see ``flags_of``.
    """

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The field, or an item of it, is a number within all bounds that are given.

    Of a date's bounds the ``field`` is one of ``moments``: seconds since 1970, see ``moments_of``.
    """

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there, and neither null nor an empty list."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold; also where the field is absent."""

    part: Filter


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; of no parts: everything matches."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One part holds; of no parts: nothing matches."""

    parts: tuple[Filter, ...]


Filter = OneOf | Between | Exists | Not | AllOf | AnyOf


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


def matches(wanted: Filter, fields: Mapping[str, Any]) -> bool:
    """Whether the fields, as ``fields_of`` gives them, satisfy the filter."""
    match wanted:
        case OneOf(field, values):
            return any(_equal(item, value) for item in _items(fields, field) for value in values)
        case Between(field):
            return any(_within(item, wanted) for item in _items(fields, field))
        case Exists(field):
            return bool(_items(fields, field))
        case Not(part):
            return not matches(part, fields)
        case AllOf(parts):
            return all(matches(part, fields) for part in parts)
        case AnyOf(parts):
            return any(matches(part, fields) for part in parts)


def fields_of(
    *, document_id: str, source: str, title: str, media_type: str, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """What filters look at, in the form that the indexes keep."""
    return {
        "document_id": document_id,
        "source": source,
        "title": title,
        "media_type": media_type.split(";", maxsplit=1)[0].strip(),
        METADATA: dict(attributes),
        MOMENTS: moments_of(attributes),
        FLAGS: flags_of(attributes),
    }


def moments_of(attributes: Mapping[str, Any]) -> dict[str, list[float]]:
    """For each key that holds dates, their seconds since 1970: no engine compares texts by order."""
    found = {key: [moment(item) for item in _listed(value)] for key, value in attributes.items()}
    return {
        key: [seconds for seconds in moments if seconds is not None]
        for key, moments in found.items()
        if any(seconds is not None for seconds in moments)
    }


def flags_of(attributes: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each key that holds true or false, these as words: not every engine tells true from 1."""
    found = {
        key: [str(item).lower() for item in _listed(value) if isinstance(item, bool)]
        for key, value in attributes.items()
    }
    return {key: flags for key, flags in found.items() if flags}


def moment(value: object) -> float | None:
    """Seconds since 1970 of a date or moment in ISO 8601, or None for anything else."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


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


def _items(fields: Mapping[str, Any], field: str) -> list[Any]:
    found: Any = fields
    for part in field.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return _listed(found)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _equal(item: object, value: Scalar) -> bool:
    if isinstance(value, str):
        return isinstance(item, str) and item == value
    return _number(item) == float(value)


def _within(item: object, bounds: Between) -> bool:
    number = _number(item)
    return number is not None and (
        (bounds.gt is None or number > bounds.gt)
        and (bounds.gte is None or number >= bounds.gte)
        and (bounds.lt is None or number < bounds.lt)
        and (bounds.lte is None or number <= bounds.lte)
    )
