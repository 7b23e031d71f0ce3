"""A filter in the words of Qdrant Edge."""

from __future__ import annotations

import qdrant_edge as edge

from app.vectors.filters import AllOf, AnyOf, Between, Exists, Filter, Not, OneOf

Condition = (
    edge.FieldCondition
    | edge.Filter
    | edge.HasIdCondition
    | edge.HasVectorCondition
    | edge.IsEmptyCondition
    | edge.IsNullCondition
    | edge.NestedCondition
)


def condition(wanted: Filter) -> Condition:
    """The same filter for the engine in this process; ``qdrant_filters.py`` says it to a server."""
    match wanted:
        case OneOf():
            return edge.Filter(should=_equals(wanted))
        case Between(field, gt, gte, lt, lte):
            return edge.FieldCondition(field, range=edge.RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte))
        case Exists(field):
            return edge.Filter(must_not=[edge.IsEmptyCondition(field)])
        case Not(part):
            return edge.Filter(must_not=[condition(part)])
        case AllOf(parts):
            return edge.Filter(must=[condition(part) for part in parts])
        case AnyOf(parts):
            return edge.Filter(should=[condition(part) for part in parts])


def _equals(wanted: OneOf) -> list[Condition]:
    conditions: list[Condition] = []
    if texts := [value for value in wanted.values if isinstance(value, str)]:
        conditions.append(edge.FieldCondition(wanted.field, match=edge.MatchAny(texts)))
    # Equality of the engine knows no fractions.
    numbers = [edge.RangeFloat(gte=value, lte=value) for value in wanted.values if not isinstance(value, str)]
    return conditions + [edge.FieldCondition(wanted.field, range=number) for number in numbers]
