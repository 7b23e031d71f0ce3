"""A filter in the words of Qdrant's server."""

from __future__ import annotations

from qdrant_client import models

from app.vectors.filters import AllOf, AnyOf, Between, Exists, Filter, Not, OneOf


def condition(wanted: Filter) -> models.Condition:
    """The same filter for a Qdrant server; ``edge_filters.py`` says it to the engine."""
    match wanted:
        case OneOf():
            return models.Filter(should=_equals(wanted))
        case Between(field, gt, gte, lt, lte):
            return models.FieldCondition(key=field, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))
        case Exists(field):
            return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=field))])
        case Not(part):
            return models.Filter(must_not=[condition(part)])
        case AllOf(parts):
            return models.Filter(must=[condition(part) for part in parts])
        case AnyOf(parts):
            return models.Filter(should=[condition(part) for part in parts])


def _equals(wanted: OneOf) -> list[models.Condition]:
    conditions: list[models.Condition] = []
    if texts := [value for value in wanted.values if isinstance(value, str)]:
        conditions.append(models.FieldCondition(key=wanted.field, match=models.MatchAny(any=texts)))
    # Equality of the engine knows no fractions.
    numbers = [models.Range(gte=value, lte=value) for value in wanted.values if not isinstance(value, str)]
    return conditions + [models.FieldCondition(key=wanted.field, range=number) for number in numbers]
