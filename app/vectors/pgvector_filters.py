"""A filter in the words of Postgres: a condition on the ``fields`` (jsonb) of a point."""

from __future__ import annotations

import json
from typing import Any

from app.vectors.filters import AllOf, AnyOf, Between, Exists, Filter, Not, OneOf


class Condition:
    """SQL, never null, and its parameters; no value of a filter stands in the SQL itself."""

    def __init__(self, wanted: Filter) -> None:
        self.parameters: dict[str, Any] = {}
        self.sql = self._said(wanted)

    def _said(self, wanted: Filter) -> str:
        match wanted:
            case OneOf(field, values):
                texts = self._bound([json.dumps(value) for value in values])
                return f"coalesce({self._at(field)} @> ANY (CAST({texts} AS jsonb[])), false)"
            case Between(field):
                bounds = {name: getattr(wanted, name) for name in _SIGNS if getattr(wanted, name) is not None}
                path = " && ".join(f"@ {_SIGNS[name]} ${name}" for name in bounds)
                given = self._bound(json.dumps(bounds))
                return (
                    f"coalesce(jsonb_path_exists({self._at(field)}, '$[*] ? ({path})', CAST({given} AS jsonb)), false)"
                )
            case Exists(field):
                return f"coalesce({self._at(field)} NOT IN (jsonb 'null', jsonb '[]'), false)"
            case Not(part):
                return f"NOT {self._said(part)}"
            case AllOf(parts):
                return f"({' AND '.join(['true', *map(self._said, parts)])})"
            case AnyOf(parts):
                return f"({' OR '.join(['false', *map(self._said, parts)])})"

    def _at(self, field: str) -> str:
        return f"(fields #> CAST({self._bound(field.split('.'))} AS text[]))"

    def _bound(self, value: Any) -> str:
        name = f"filter_{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"


_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
