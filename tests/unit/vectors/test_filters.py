"""What a filter means, and how one that can't be used is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vectors.filter_reader import FilterError, parse_filter
from app.vectors.filters import fields_of, matches

DOCUMENT = fields_of(
    document_id="d1",
    source="manual.md",
    title="Manual",
    media_type="text/markdown; charset=utf-8",
    attributes={
        "year": 2021,
        "price": 9.5,
        "lang": "en",
        "draft": False,
        "tags": ["backup", "wal"],
        "sizes": [3, 8],
        "published": "2024-03-01T12:00:00+02:00",
        "title": "of the metadata",
        "none": [],
    },
)


def holds(given: dict[str, Any]) -> bool:
    return matches(parse_filter(given), DOCUMENT)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"year": 2021}, {"year": {"eq": 2021.0}}, {"year": {"gte": 2021, "lt": 2022}}, {"price": {"gt": 9}},
        {"lang": "en"}, {"lang": {"ne": "de"}}, {"lang": {"in": ["de", "en"]}}, {"lang": {"nin": ["de"]}},
        {"draft": False}, {"draft": {"ne": True}},
        {"tags": "wal"}, {"tags": {"in": ["x", "backup"]}}, {"sizes": {"gt": 5}}, {"sizes": {"gte": 3, "lte": 3}},
        {"year": {"exists": True}}, {"absent": {"exists": False}}, {"none": {"exists": False}},
        {"absent": {"ne": 1}}, {"absent": {"nin": [1]}}, {"$not": {"absent": 1}},
        {"published": {"gte": "2024-03-01", "lt": "2024-03-02"}}, {"published": {"gt": "2024-03-01T09:59:59Z"}},
        {"published": {"lte": "2024-03-01T05:00:00-05:00"}},
        {"title": "Manual"}, {"metadata.title": "of the metadata"}, {"media_type": "text/markdown"},
        {"source": {"in": ["manual.md"]}}, {"document_id": {"ne": "d2"}},
        {"year": 2021, "lang": "en"}, {"$or": [{"year": 1}, {"lang": "en"}]},
        {"$and": [{"year": 2021}, {"lang": "en"}]},
    ],
)  # fmt: skip
def test_it_holds(given: dict[str, Any]) -> None:
    assert holds(given)


@pytest.mark.parametrize(
    "given",
    [
        {"year": "2021"}, {"lang": True}, {"draft": 0}, {"year": {"gt": 2021}}, {"year": {"gt": 2000, "lt": 2021}},
        # One item within both bounds, not one for each.
        {"sizes": {"gt": 4, "lt": 7}},
        {"lang": {"ne": "en"}}, {"tags": {"nin": ["wal"]}}, {"absent": 1}, {"absent": {"gt": 0}},
        {"year": {"exists": False}}, {"none": {"exists": True}}, {"lang": {"gt": 5}},
        {"year": {"gt": "2020-01-01"}}, {"published": {"gt": "2024-03-01T10:00:00Z"}}, {"title": "of the metadata"},
        {"year": 2021, "lang": "de"}, {"$not": {"year": 2021}}, {"$or": [{"year": 1}, {"lang": "de"}]},
    ],
)  # fmt: skip
def test_it_does_not_hold(given: dict[str, Any]) -> None:
    assert not holds(given)


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"year": {"above": 1}}, "year.above", "there are eq, ne, in, nin, exists, gt"),
        ({"year": {"in": 5}}, "year.in", "list of 1 to"),
        ({"year": {"in": []}}, "year.in", "list of 1 to"),
        ({"tag": {"in": ["a", None]}}, "tag.in.1", "must be a text, a number"),
        ({"year": None}, "year", "must be a text, a number"),
        ({"year": [1, 2]}, "year", "must be a text, a number"),
        ({"year": {}}, "year", "names no condition"),
        ({"year": {"gt": "soon"}}, "year.gt", "a number or an ISO date"),
        ({"year": {"gt": "2024-02-31"}}, "year.gt", "a number or an ISO date"),
        ({"year": {"gt": True}}, "year.gt", "a number or an ISO date"),
        ({"year": {"gt": 1, "lt": "2024-01-01"}}, "year", "mixes numbers and dates"),
        ({"year": {"gt": 1e300}}, "year.gt", "between -2\\^53 and 2\\^53"),
        ({"year": 10**400}, "year", "between -2\\^53 and 2\\^53"),
        ({"source": {"gt": 1}}, "source.gt", "can't be asked of source"),
        ({"exists": {"exists": 1}}, "exists.exists", "true or false"),
        ({"a b": 1}, "a b", "is no field"),
        ({"1a": 1}, "1a", "is no field"),
        ({"$nor": [{"a": 1}]}, "$nor", "is no field"),
        ({"$or": []}, "$or", "at least one"),
        ({"$or": {"a": 1}}, "$or", "list"),
        ({"$not": [1]}, "$not", "must be an object"),
        ({"a": "nul\x00"}, "a", "NUL"),
        ({"a": "\ud83d"}, "a", "half characters"),
        ({"a": "x" * 1001}, "a", "at most 1000"),
        ({"$not": {"$not": {"$not": {"$not": {"a": 1}}}}}, "$not.$not.$not.$not", "4 levels deep"),
        ({"$and": [{f"k{n}": n} for n in range(65)]}, "", "more than 64"),
    ],
)
def test_what_can_not_be_used_is_refused_where_it_stands(given: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        parse_filter(given)
    if path:
        assert ".".join(caught.value.path) == path


words = st.sampled_from(["$and", "$or", "$not", "eq", "in", "gt", "exists", "year"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "2024-01-01", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["year", "$or", "$not", "title", ""]), anything, max_size=3))
def test_whatever_comes_is_read_or_refused(given: dict[str, Any]) -> None:
    try:
        wanted = parse_filter(given)
    except FilterError:
        return
    assert matches(wanted, DOCUMENT) in (True, False)
