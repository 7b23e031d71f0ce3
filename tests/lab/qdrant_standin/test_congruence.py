"""The stand-in answers as the official client's local mode does, for random data and operations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from qdrant_client import QdrantClient, models

from .process import Standin

SIZE = 8
TENANTS = ["acme", "globex", "initech"]
WORDS = 40


@dataclass
class Twins:
    """The same collection in the stand-in and in the local mode of the official client."""

    standin: QdrantClient
    local: QdrantClient
    rng: random.Random

    def both(self, method: str, **arguments: Any) -> tuple[Any, Any]:
        return tuple(getattr(client, method)("c", **arguments) for client in (self.standin, self.local))

    def dense(self) -> list[float]:
        return [self.rng.gauss(0, 1) for _ in range(SIZE)]

    def sparse(self, terms: int) -> models.SparseVector:
        indices = self.rng.sample(range(WORDS), terms)
        return models.SparseVector(indices=indices, values=[round(self.rng.uniform(0.1, 2), 3) for _ in indices])

    def point_id(self) -> int | str:
        number = self.rng.randrange(120)
        return number if number % 3 else str(UUID(int=number + 1))

    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"tenant": self.rng.choice(TENANTS), "page": self.rng.randrange(10)}
        if self.rng.random() < 0.5:
            payload["tags"] = self.rng.sample(["a", "b", "c"], self.rng.randrange(1, 3))
        if self.rng.random() < 0.5:
            payload["meta"] = {"lang": self.rng.choice(["en", "de"]), "score": round(self.rng.random(), 2)}
        return payload

    def point(self) -> models.PointStruct:
        terms = self.sparse(6)
        vector: dict[str, Any] = {"dense": self.dense(), "bm25": terms, "terms": terms}
        return models.PointStruct(id=self.point_id(), vector=vector, payload=self.payload())

    def condition(self) -> models.Condition:
        choices: list[models.Condition] = [
            models.FieldCondition(key="tenant", match=models.MatchValue(value=self.rng.choice(TENANTS))),
            models.FieldCondition(key="tags", match=models.MatchAny(any=["a", "c"])),
            models.FieldCondition(key="tenant", match=models.MatchExcept(**{"except": ["acme"]})),
            models.FieldCondition(key="page", range=models.Range(gte=2, lt=7)),
            models.FieldCondition(key="meta.lang", match=models.MatchValue(value="en")),
            models.FieldCondition(key="page", match=models.MatchValue(value=self.rng.randrange(10))),
            models.IsEmptyCondition(is_empty=models.PayloadField(key="meta")),
            models.HasIdCondition(has_id=[self.point_id() for _ in range(20)]),
        ]  # fmt: skip
        return self.rng.choice(choices)

    def filter(self) -> models.Filter:
        clauses: dict[str, Any] = {
            "must": [self.condition()] if self.rng.random() < 0.6 else None,
            "should": [self.condition(), self.condition()] if self.rng.random() < 0.5 else None,
            "must_not": [self.condition()] if self.rng.random() < 0.4 else None,
        }
        return models.Filter(**clauses)


@pytest.fixture
def twins(standin: Standin, request: pytest.FixtureRequest) -> Iterator[Twins]:
    local, remote = QdrantClient(":memory:"), standin.client()
    pair = Twins(remote, local, random.Random(request.param))  # noqa: S311
    for client in (remote, local):
        client.create_collection(
            "c",
            vectors_config={"dense": models.VectorParams(size=SIZE, distance=models.Distance.COSINE)},
            sparse_vectors_config={
                "bm25": models.SparseVectorParams(modifier=models.Modifier.IDF),
                "terms": models.SparseVectorParams(),
            },
        )
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    remote.create_payload_index("c", "tenant", tenant, wait=True)
    remote.create_payload_index("c", "page", models.PayloadSchemaType.INTEGER, wait=True)
    points = {point.id: point for point in (pair.point() for _ in range(180))}
    pair.both("upsert", points=list(points.values()), wait=True)
    yield pair
    remote.delete_collection("c")
    remote.close()


def same_scores(first: Any, second: Any) -> None:
    """Same scores in the same order; same ids wherever the score is not shared by several points."""
    scores = [point.score for point in second]
    assert [point.score for point in first] == pytest.approx(scores, abs=1e-5)
    for mine, other in zip(first, second, strict=True):
        alone = sum(abs(other.score - score) < 1e-5 for score in scores) == 1
        if alone and other is not second[-1]:  # a tie may be cut at the end of the list
            assert mine.id == other.id
            assert mine.payload == other.payload


def everything(client: QdrantClient) -> dict[Any, Any]:
    points, _ = client.scroll("c", limit=1000, with_payload=True, with_vectors=True)
    return {point.id: (point.payload, sorted(point.vector or {})) for point in points}


def change(twins: Twins) -> None:
    """One random change, made in both."""
    rng = twins.rng
    found = twins.filter()
    some = [point.id for point in twins.local.scroll("c", limit=rng.randrange(1, 6))[0]]
    kind = rng.choice(
        ["upsert", "delete_ids", "delete_filter", "set", "overwrite", "delete_payload", "clear", "vectors"]
    )
    if kind == "upsert":
        twins.both("upsert", points=[twins.point() for _ in range(rng.randrange(1, 20))], wait=True)
    elif kind == "delete_ids":
        twins.both("delete", points_selector=models.PointIdsList(points=some), wait=True)
    elif kind == "delete_filter":
        narrow = models.Filter(must=[found, models.FieldCondition(key="page", match=models.MatchValue(value=3))])
        twins.both("delete", points_selector=models.FilterSelector(filter=narrow), wait=True)
    elif kind == "set":
        twins.both("set_payload", payload={"page": rng.randrange(10), "new": {"x": 1}}, points=some, wait=True)
    elif kind == "overwrite":
        twins.both("overwrite_payload", payload=twins.payload(), points=some, wait=True)
    elif kind == "delete_payload":
        twins.both("delete_payload", keys=["tags"], points=models.FilterSelector(filter=found), wait=True)
    elif kind == "clear":
        twins.both("clear_payload", points_selector=models.PointIdsList(points=some[:1]), wait=True)
    else:
        vectors = [models.PointVectors(id=key, vector={"dense": twins.dense()}) for key in some]
        twins.both("update_vectors", points=vectors, wait=True)


@pytest.mark.parametrize("twins", [1, 2], indirect=True)
def test_random_changes_and_queries_agree(twins: Twins) -> None:
    for _ in range(30):
        change(twins)
        compare(twins)
    assert everything(twins.standin) == everything(twins.local)


def compare(twins: Twins) -> None:
    """Dense, sparse and fused queries, counts and retrieval under a random filter."""
    rng, condition = twins.rng, twins.filter()
    common = {"query_filter": condition, "limit": rng.randrange(1, 15), "with_payload": True}
    for name, vector in (("dense", twins.dense()), ("terms", twins.sparse(3))):
        mine, other = twins.both("query_points", query=vector, using=name, **common)
        same_scores(mine.points, other.points)
    # Fewer ties than the fused list is long: prefetch all, so that cut ties don't decide what is fused.
    stages = [
        models.Prefetch(query=twins.dense(), using="dense", filter=condition, limit=500),
        models.Prefetch(query=twins.dense(), using="dense", filter=condition, limit=500),
    ]
    fusion = models.FusionQuery(fusion=models.Fusion.RRF)
    mine, other = twins.both("query_points", prefetch=stages, query=fusion, limit=10, with_payload=True)
    same_scores(mine.points, other.points)
    mine, other = twins.both("count", count_filter=condition, exact=True)
    assert mine.count == other.count
    ids = [twins.point_id() for _ in range(10)]
    mine, other = twins.both("retrieve", ids=ids, with_payload=True)
    assert {p.id: p.payload for p in mine} == {p.id: p.payload for p in other}


@pytest.mark.parametrize("twins", [6], indirect=True)
def test_idf_weighted_queries_agree(twins: Twins) -> None:
    """On points never changed: the engine's IDF goes on counting removed points until its optimiser runs."""
    for _ in range(30):
        mine, other = twins.both("query_points", query=twins.sparse(3), using="bm25", limit=10, with_payload=True)
        same_scores(mine.points, other.points)


@pytest.mark.parametrize("twins", [4], indirect=True)
def test_batch_groups_examples_and_order_agree(twins: Twins) -> None:
    requests = [models.QueryRequest(query=twins.dense(), using="dense", limit=7, with_payload=True) for _ in range(4)]
    for mine, other in zip(*twins.both("query_batch_points", requests=requests), strict=True):
        same_scores(mine.points, other.points)
    example = twins.local.scroll("c", limit=1)[0][0].id
    mine, other = twins.both("query_points", query=example, using="dense", limit=9, with_payload=True)
    assert example not in {point.id for point in mine.points}
    same_scores(mine.points, other.points)
    mine, other = twins.both("query_points_groups", query=twins.dense(), using="dense", group_by="tenant", group_size=2)
    assert {group.id: [hit.id for hit in group.hits] for group in mine.groups} == {
        group.id: [hit.id for hit in group.hits] for group in other.groups
    }
    mine, other = twins.both("facet", key="tenant", exact=True)
    assert {hit.value: hit.count for hit in mine.hits} == {hit.value: hit.count for hit in other.hits}
    (mine, _), (other, _) = twins.both("scroll", order_by="page", limit=1000)
    assert [point.payload["page"] for point in mine] == [point.payload["page"] for point in other]


@pytest.mark.parametrize("twins", [5], indirect=True)
def test_scroll_pages_reach_every_point_once(twins: Twins) -> None:
    seen: list[Any] = []
    offset: Any = None
    while True:
        points, offset = twins.standin.scroll("c", limit=7, offset=offset, with_payload=False)
        seen += [point.id for point in points]
        if offset is None:
            break
    assert len(seen) == len(set(seen))
    assert set(seen) == set(everything(twins.local))
