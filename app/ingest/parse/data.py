"""Tables and JSON: each row or entry says by itself what its values are."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.errors import DocumentError, ErrorCode
from app.ingest.parse.blocks import Block, Parsed

_SAMPLE_CHARS = 8192


def parse_csv(text: str) -> Parsed:
    """Comma, semicolon or tab separated values; the first row names the columns."""
    try:
        dialect: Any = csv.Sniffer().sniff(text[:_SAMPLE_CHARS], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        return Parsed(None, list(rows_to_blocks(csv.reader(text.splitlines(keepends=True), dialect))))
    except csv.Error as error:
        raise DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE, f"The table can't be read: {error}. Is every quote closed?"
        ) from error


def rows_to_blocks(rows: Iterable[Sequence[object]], heading_path: tuple[str, ...] = ()) -> Iterator[Block]:
    """One block a row, ``column: value`` on each line, so that a row is understood without the table's head."""
    filled = (row for row in rows if any(_cell(value) for value in row))
    head = [_cell(value) for value in next(filled, ())]
    first = next(filled, None)
    if first is None:
        if head:
            yield Block(" | ".join(head), heading_path)
        return
    for row in _chain(first, filled):
        named = ((head[n] if n < len(head) else "", _cell(value)) for n, value in enumerate(row))
        lines = [f"{name}: {value}" if name else value for name, value in named if value]
        yield Block("\n".join(lines), heading_path)


def _chain(first: Sequence[object], rest: Iterable[Sequence[object]]) -> Iterator[Sequence[object]]:
    yield first
    yield from rest


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def parse_json(text: str) -> Parsed:
    """JSON, or one JSON value a line: each entry of the outermost list or object is a block of ``path: value`` lines.

    Raises:
        DocumentError: it is neither, or nested too deep.
    """
    try:
        value = _load(text)
        entries = value.items() if isinstance(value, dict) else [("", item) for item in _listed(value)]
        blocks = [Block("\n".join(_lines(item, key)), (key,) if key else ()) for key, item in entries]
    except RecursionError:
        raise DocumentError(ErrorCode.DOCUMENT_UNREADABLE, "The JSON is nested too deep to be read.") from None
    return Parsed(None, [block for block in blocks if block.text])


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return [json.loads(line) for line in lines] if len(lines) > 1 else _refuse(error)
        except ValueError:
            return _refuse(error)


def _refuse(error: ValueError) -> Any:
    raise DocumentError(ErrorCode.DOCUMENT_UNREADABLE, f"The JSON can't be read: {error}.") from error


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _lines(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        plain = [_scalar(item) for item in value if not isinstance(item, (dict, list))]
        if plain:
            yield _named(path, ", ".join(plain))
        for item in value:
            if isinstance(item, (dict, list)):
                yield from _lines(item, path)
    elif value is not None and _scalar(value):
        yield _named(path, _scalar(value))


def _named(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()
