"""Every store finds by a filter exactly what the filter means: ``matches`` is the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.vectors.filter_reader import FilterError, parse_filter
from app.vectors.filters import matches
from app.vectors.protocols import Point, VectorIndex
from tests.unit.vectors.test_index_contract import BM25, SCOPE, axis, opened, point, postgres, server

__all__ = ["postgres", "server"]
IDS = UUID(int=7)
texts = st.sampled_from(["en", "de", "1", "true", "", "a.b", "it's", "2024-02-29", "2024-02-29T23:00:00-02:00"])
numbers = st.sampled_from([0, 1, -1, 1.0, 1.5, 2, 2024, 2**53])
scalars = texts | numbers | st.booleans()
keys = st.sampled_from(["year", "lang", "tag", "title", "_x9"])
metadata = st.dictionaries(keys, scalars | st.lists(scalars, max_size=3), max_size=5)
names = st.sampled_from(["a.md", "b.md", "en"])
documents = st.lists(st.tuples(metadata, names, names), min_size=60, max_size=60)

dates = st.sampled_from(["2024-02-29", "2024-03-01T01:00:00Z", "2024-03-01 00:59:59.5"])
limits = st.sampled_from(["gt", "gte", "lt", "lte"])
bounds = st.one_of([st.dictionaries(limits, kind, min_size=1, max_size=2) for kind in (numbers, dates)])
values = st.lists(scalars, min_size=1, max_size=3)
conditions = st.one_of(
    scalars,
    bounds,
    st.fixed_dictionaries(
        {}, optional={"eq": scalars, "ne": scalars, "in": values, "nin": values, "exists": st.booleans()}
    ).filter(bool),
)
fields = st.one_of(
    st.dictionaries(
        st.one_of(keys.filter(lambda key: key != "title"), st.just("metadata.title")), conditions, max_size=2
    ),
    st.dictionaries(st.sampled_from(["source", "title", "media_type"]), names | texts, min_size=1, max_size=1),
)


def readable(given: dict[str, Any]) -> bool:
    try:
        parse_filter(given)
    except FilterError:  # nested too deep
        return False
    return True


filters = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$or": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"$and": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=3,
).filter(readable)


class Filled:
    """A store with documents, and the loop that it lives in."""

    def __init__(self, runner: asyncio.Runner, index: VectorIndex) -> None:
        self._runner = runner
        self.index = index
        self.points: list[Point] = []

    def write(self, found: list[tuple[dict[str, Any], str, str]]) -> None:
        """The same chunk ids again: what was there is replaced."""
        self.points = [
            point(axis(n % 8), "row", chunk_id=uuid5(IDS, str(n)), attributes=attributes, source=source, title=title)
            for n, (attributes, source, title) in enumerate(found)
        ]
        self._runner.run(self.index.upsert(self.points))

    def ask(self, given: dict[str, Any]) -> list[set[UUID]]:
        wanted = parse_filter(given)
        found = self._runner.run(self.index.search(SCOPE, axis(0), BM25.query("row"), 200, wanted))
        return [{hit.chunk_id for hit in hits} for hits in found]


@pytest.fixture(scope="module", params=["edge", "qdrant", "pgvector"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        context = opened(request.param, request, tmp_path_factory.mktemp("filled"), patch)
        yield Filled(runner, runner.run(context.__aenter__()))
        runner.run(context.__aexit__(None, None, None))


# Not shrunk: each try writes into a store, and the filter that failed is said.
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(documents=documents, asked=st.lists(filters, min_size=12, max_size=12))
def test_a_store_finds_what_the_filter_means(
    filled: Filled, documents: list[tuple[dict[str, Any], str, str]], asked: list[dict[str, Any]]
) -> None:
    filled.write(documents)
    for one in asked:
        expected = {found.chunk_id for found in filled.points if matches(parse_filter(one), found.fields())}
        for ids in filled.ask(one):
            wrong = ids ^ expected
            assert [found.fields() for found in filled.points if found.chunk_id in wrong] == [], one
