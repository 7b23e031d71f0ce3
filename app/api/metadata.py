"""What owners say of their documents: names and values, which filters look at."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, StringConstraints

from app.api.fields import NO_NUL

_I64 = 2**63


def _fraction(value: object) -> object:
    # A whole number beyond 64 bits would lose its last digits as a float.
    if isinstance(value, int):
        raise ValueError("a whole number must fit 64 bits")
    return value


_Text = Annotated[str, StringConstraints(strict=True, max_length=1000, pattern=NO_NUL)]
_Whole = Annotated[StrictInt, Field(ge=-_I64, lt=_I64)]
_Number = Annotated[StrictFloat, Field(allow_inf_nan=False), BeforeValidator(_fraction)]
_Scalar = StrictBool | _Whole | _Number | _Text
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Value = _Scalar | Annotated[list[_Scalar], Field(max_length=64)]
Metadata = Annotated[
    dict[Key, Value],
    Field(
        max_length=32,
        description="Up to 32 names (letters, digits, `_`), each a text, number, boolean or a list of these.",
        examples=[{"department": "sales", "year": 2026, "tags": ["harbour", "fees"]}],
    ),
]
