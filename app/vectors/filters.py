"""Filters over a document's own fields and its owner's metadata: their forms and their meaning.

``filter_reader.py`` reads them from a request; ``matches`` is what they mean. The indexes translate them (``edge.py``,
``qdrant.py``, ``pgvector.py``), the database applies them again to what those propose, and the tests hold every index
to ``matches``.

A field's value may be a list: a condition holds when it holds for one of its items. Numbers are compared as numbers,
texts by equality, dates (ISO 8601, a date or a moment; UTC where no zone is named) as moments. Values of different
types are never equal: ``1`` is neither ``"1"`` nor ``true``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Scalar = str | int | float

BUILT_IN = ("document_id", "source", "title", "media_type")
METADATA, MOMENTS, FLAGS = "metadata", "moments", "flags"
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


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
