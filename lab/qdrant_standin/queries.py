"""Queries: the JSON of `/points/query` to the engine's request, nested prefetches included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import qdrant_edge as edge

from . import filters, formulas
from .errors import format_error, not_found, wrong_input
from .values import (
    Json,
    PointId,
    array,
    is_point_id,
    named_vector,
    need,
    number,
    obj,
    one_or_many,
    point_id,
    text,
    whole,
)

_STAGE = "prefetch query using filter params score_threshold limit lookup_from shard_key"
_REQUEST = f"{_STAGE} offset with_vector with_vectors with_payload"
_KINDS = "nearest mmr recommend discover context order_by fusion rrf formula defaults sample text relevance_feedback"
_PARAMS = "hnsw_ef exact quantization indexed_only acorn idf"

VectorLookup = Callable[[str | None, PointId, str], Any]
"""(collection or None for the queried one, point id, vector name) -> its vector, or None when it has none."""


@dataclass
class Stage:
    """One stage while it is read: where vectors named by a point id come from, and which ids must not be found."""

    using: str
    lookup: VectorLookup
    collection: str | None = None
    excluded: set[PointId] = field(default_factory=set)

    def vector(self, value: Json, where: str) -> Any:
        if not is_point_id(value):
            return named_vector(value, where)
        wanted = point_id(value)
        found = self.lookup(self.collection, wanted, self.using)
        if found is None:
            raise not_found(f"Vector with name {self.using!r} for point {value} not found")
        if self.collection is None:
            self.excluded.add(wanted)
        return found


def parse_request(
    body: Json, lookup: VectorLookup, with_payload: Any, with_vector: Any, limit: int | None = None
) -> edge.QueryRequest:
    """A top-level request. `limit` overrides the body's (grouping needs more than it gives)."""
    shape = obj(body, "query request", _REQUEST)
    query, prefetches, condition = _stage(shape, lookup, "query")
    return edge.QueryRequest(
        limit=limit if limit is not None else whole(_or(shape.get("limit"), 10), "limit", 1),
        offset=0 if limit is not None else whole(_or(shape.get("offset"), 0), "offset"),
        query=query,
        prefetches=prefetches,
        with_vector=with_vector,
        with_payload=with_payload,
        filter=condition,
        score_threshold=_threshold(shape),
        params=params(shape.get("params")),
    )


def _prefetch(body: Json, lookup: VectorLookup) -> edge.Prefetch:
    shape = obj(body, "prefetch", _STAGE)
    query, prefetches, condition = _stage(shape, lookup, "prefetch.query")
    return edge.Prefetch(
        limit=whole(_or(shape.get("limit"), 10), "prefetch.limit", 1),
        query=query,
        prefetches=prefetches,
        params=params(shape.get("params")),
        filter=condition,
        score_threshold=_threshold(shape),
    )


def _stage(
    shape: dict[str, Any], lookup: VectorLookup, where: str
) -> tuple[Any, list[edge.Prefetch] | None, edge.Filter | None]:
    prefetches = [_prefetch(item, lookup) for item in one_or_many(shape.get("prefetch"))]
    stage = Stage(text(_or(shape.get("using"), ""), "using"), lookup)
    if shape.get("lookup_from") is not None:
        other = obj(shape["lookup_from"], "lookup_from", "collection vector shard_key")
        stage.collection = text(need(other, "collection", "lookup_from"), "lookup_from.collection")
        if other.get("vector") is not None:
            stage.lookup = lambda name, wanted, _using: lookup(name, wanted, other["vector"])
    query = None if shape.get("query") is None else _scoring(shape["query"], stage, where)
    if isinstance(query, edge.Fusion) and not prefetches:
        raise wrong_input("Bad request: cannot make RRF/DBSF fusion without prefetches")
    condition = filters.without_ids(filters.parse(shape.get("filter")), set(stage.excluded))
    return query, prefetches or None, condition


def _scoring(value: Json, stage: Stage, where: str) -> Any:
    if not isinstance(value, dict) or "indices" in value:
        return edge.Query.Nearest(stage.vector(value, where), using=stage.using)
    shape = obj(value, where, _KINDS)
    kinds = [key for key in shape if key not in ("mmr", "defaults")]
    if len(kinds) != 1:
        raise format_error(f"{where}: expected exactly one of {_KINDS}")
    return _READERS[kinds[0]](shape, stage, where)


def _nearest(shape: dict[str, Any], stage: Stage, where: str) -> Any:
    vector = stage.vector(shape["nearest"], where)
    if shape.get("mmr") is None:
        return edge.Query.Nearest(vector, using=stage.using)
    mmr = obj(shape["mmr"], f"{where}.mmr", "diversity candidates_limit")
    diversity = number(_or(mmr.get("diversity"), 0.5), f"{where}.mmr.diversity")
    return edge.Mmr(vector, 1.0 - diversity, whole(_or(mmr.get("candidates_limit"), 100), where, 1), using=stage.using)


def _recommend(shape: dict[str, Any], stage: Stage, where: str) -> Any:
    body = obj(shape["recommend"], where, "positive negative strategy")
    positive = [stage.vector(item, where) for item in one_or_many(body.get("positive"))]
    negative = [stage.vector(item, where) for item in one_or_many(body.get("negative"))]
    strategy = _or(body.get("strategy"), "average_vector")
    if not positive and (not negative or strategy == "average_vector"):
        raise wrong_input("recommend needs at least one positive example (or negatives and another strategy)")
    if strategy == "average_vector":
        return edge.Query.Nearest(_average(positive, negative, where), using=stage.using)
    query = edge.RecommendQuery(positive, negative)
    if strategy == "best_score":
        return edge.Query.RecommendBestScore(query, using=stage.using)
    if strategy == "sum_scores":
        return edge.Query.RecommendSumScores(query, using=stage.using)
    raise format_error(f"{where}.strategy: expected average_vector, best_score or sum_scores")


def _average(positive: list[Any], negative: list[Any], where: str) -> list[float]:
    """Qdrant's average strategy: avg(positive), moved away from avg(negative) where there are negatives."""
    if any(not isinstance(vector, list) or isinstance(vector[0], list) for vector in [*positive, *negative]):
        raise wrong_input(f"{where}: average_vector works on dense vectors; use best_score or sum_scores")
    if len({len(vector) for vector in [*positive, *negative]}) != 1:
        raise wrong_input(f"{where}: the examples have different dimensions")

    def mean(vectors: list[Any]) -> list[float]:
        return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]

    plus = mean(positive)
    if not negative:
        return plus
    return [2 * a - b for a, b in zip(plus, mean(negative), strict=True)]


def _pairs(value: Json, stage: Stage, where: str) -> list[edge.ContextPair]:
    pairs = [obj(item, where, "positive negative") for item in one_or_many(value)]
    return [
        edge.ContextPair(*(stage.vector(need(pair, side, where), where) for side in ("positive", "negative")))
        for pair in pairs
    ]


def _discover(shape: dict[str, Any], stage: Stage, where: str) -> Any:
    body = obj(shape["discover"], where, "target context")
    target = stage.vector(need(body, "target", where), where)
    return edge.Query.Discover(edge.DiscoverQuery(target, _pairs(body.get("context"), stage, where)), using=stage.using)


def _context(shape: dict[str, Any], stage: Stage, where: str) -> Any:
    return edge.Query.Context(edge.ContextQuery(_pairs(shape["context"], stage, where)), using=stage.using)


def _fusion(shape: dict[str, Any], _stage: Stage, where: str) -> Any:
    if shape["fusion"] == "rrf":
        return edge.Fusion.Rrf(k=2)
    if shape["fusion"] == "dbsf":
        return edge.Fusion.Dbsf()
    raise format_error(f"{where}.fusion: expected rrf or dbsf")


def _rrf(shape: dict[str, Any], _stage: Stage, where: str) -> Any:
    body = obj(shape["rrf"], where, "k weights")
    weights = body.get("weights")
    return edge.Fusion.Rrf(whole(_or(body.get("k"), 2), where, 1), None if weights is None else array(weights, where))


def order_by(value: Json, where: str = "order_by") -> edge.OrderBy:
    """A payload key, or `{key, direction, start_from}`."""
    if isinstance(value, str):
        return edge.OrderBy(value)
    body = obj(value, where, "key direction start_from")
    directions = {None: None, "asc": edge.Direction.Asc, "desc": edge.Direction.Desc}
    if body.get("direction") not in directions:
        raise format_error(f"{where}.direction: expected asc or desc")
    key, direction = text(need(body, "key", where), where), directions[body.get("direction")]
    return edge.OrderBy(key, direction, body.get("start_from"))


def _sample(shape: dict[str, Any], _stage: Stage, where: str) -> Any:
    if shape["sample"] != "random":
        raise format_error(f"{where}.sample: expected random")
    return edge.Sample.Random


def _unsupported(shape: dict[str, Any], _stage: Stage, where: str) -> Any:
    raise wrong_input(f"{where}: the lab stand-in does not serve this query kind ({', '.join(sorted(shape))})")


_READERS: dict[str, Callable[[dict[str, Any], Stage, str], Any]] = {
    "nearest": _nearest,
    "recommend": _recommend,
    "discover": _discover,
    "context": _context,
    "fusion": _fusion,
    "rrf": _rrf,
    "order_by": lambda shape, _stage, where: order_by(shape["order_by"], where),
    "sample": _sample,
    "formula": lambda shape, _stage, where: formulas.parse(shape["formula"], shape.get("defaults"), where),
    "text": _unsupported,
    "relevance_feedback": _unsupported,
}


def params(value: Json) -> edge.SearchParams | None:
    """Search parameters. HNSW ones are accepted and change nothing: the stand-in always scans exactly."""
    if value is None:
        return None
    shape = obj(value, "params", _PARAMS)
    idf = None
    if shape.get("idf") is not None:
        corpus = obj(shape["idf"], "params.idf", "corpus").get("corpus")
        idf = edge.IdfParams(corpus=filters.parse(corpus, "params.idf.corpus"))
    return edge.SearchParams(hnsw_ef=shape.get("hnsw_ef"), exact=bool(shape.get("exact")), idf=idf)


def _threshold(shape: dict[str, Any]) -> float | None:
    value = shape.get("score_threshold")
    return None if value is None else number(value, "score_threshold")


def _or(value: Json, default: Json) -> Json:
    return default if value is None else value
