"""Reads of points: retrieve, scroll, count, query, query groups, facet."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from . import filters, queries, values
from .collection import Collection
from .errors import engine_call, not_found, wrong_input
from .queries import VectorLookup
from .storage import Storage
from .values import Json, array, need, obj, point_id, point_id_json, point_ids, record_json, text, whole


def _selectors(shape: dict[str, Any], payload_default: bool) -> tuple[Any, Any]:
    vector = shape.get("with_vector") if shape.get("with_vector") is not None else shape.get("with_vectors")
    return values.with_payload(shape.get("with_payload"), payload_default), values.with_vector(vector)


def lookup_in(storage: Storage, collection: Collection) -> VectorLookup:
    """How a query's point ids become vectors."""

    def lookup(name: str | None, wanted: values.PointId, using: str) -> Any:
        return (collection if name is None else storage.get(name)).vector(wanted, using)

    return lookup


def retrieve(collection: Collection, body: Json) -> list[dict[str, Any]]:
    shape = obj(body, "retrieve", "ids with_payload with_vector with_vectors shard_key")
    payload, vector = _selectors(shape, True)
    ids = point_ids(need(shape, "ids", "retrieve"), "ids")
    with engine_call():
        found = collection.shard.retrieve(list(ids), payload, vector)
    return [record_json(point, payload, vector) for point in found]


def retrieve_one(collection: Collection, wanted: str) -> dict[str, Any]:
    key = point_id(int(wanted) if wanted.isdecimal() else wanted)
    with engine_call():
        found = collection.shard.retrieve([key], True, True)
    if not found:
        raise not_found(f"Point with id {wanted} does not exists!")
    return record_json(found[0], True, True)


def scroll(collection: Collection, body: Json) -> dict[str, Any]:
    shape = obj(body, "scroll", "offset limit filter with_payload with_vector with_vectors order_by shard_key")
    payload, vector = _selectors(shape, True)
    limit = whole(10 if shape.get("limit") is None else shape["limit"], "limit", 1)
    order = None if shape.get("order_by") is None else queries.order_by(shape["order_by"])
    if order is not None and shape.get("offset") is not None:
        raise wrong_input(
            "Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from`"
        )
    request = edge.ScrollRequest(
        offset=None if shape.get("offset") is None else point_id(shape["offset"]),
        limit=limit,
        filter=filters.parse(shape.get("filter")),
        with_payload=payload,
        with_vector=vector,
        order_by=order,
    )
    with engine_call():
        found, following = collection.shard.scroll(request)
    offset = None if following is None or order is not None else point_id_json(following)
    return {"points": [record_json(point, payload, vector) for point in found], "next_page_offset": offset}


def count(collection: Collection, body: Json) -> dict[str, int]:
    shape = obj(body, "count", "filter exact shard_key")
    return {"count": collection.count(filters.parse(shape.get("filter")))}


def facet(collection: Collection, body: Json) -> dict[str, Any]:
    shape = obj(body, "facet", "key limit filter exact shard_key")
    limit = whole(10 if shape.get("limit") is None else shape["limit"], "limit", 1)
    request = edge.FacetRequest(
        text(need(shape, "key", "facet"), "key"), limit, True, filters.parse(shape.get("filter"))
    )
    with engine_call():
        hits = collection.shard.facet(request).hits
    return {"hits": [{"value": _facet_value(hit.value), "count": hit.count} for hit in hits]}


def _facet_value(value: Any) -> Any:
    return value if isinstance(value, str | int | bool) else str(value)


def query(storage: Storage, collection: Collection, body: Json) -> dict[str, Any]:
    return query_batch(storage, collection, {"searches": [body]})[0]


def query_batch(storage: Storage, collection: Collection, body: Json) -> list[dict[str, Any]]:
    """Several queries planned as one; one answer each, in order."""
    searches = array(need(obj(body, "batch", "searches"), "searches", "batch"), "searches")
    lookup = lookup_in(storage, collection)
    selectors = [_selectors(search if isinstance(search, dict) else {}, False) for search in searches]
    with engine_call():
        requests = [
            queries.parse_request(search, lookup, payload, vector)
            for search, (payload, vector) in zip(searches, selectors, strict=True)
        ]
        found = collection.shard.query_batch(edge.QueryBatchRequest(requests)) if requests else []
    return [
        {"points": [record_json(point, payload, vector) for point in points]}
        for points, (payload, vector) in zip(found, selectors, strict=True)
    ]


def query_groups(storage: Storage, collection: Collection, body: Json) -> dict[str, Any]:
    """Group hits by a payload value. The engine has no grouping: all hits are ranked, then grouped here."""
    shape = dict(obj(body, "groups", f"{queries._REQUEST} group_by group_size with_lookup"))
    key = text(need(shape, "group_by", "groups"), "group_by")
    size, limit = (whole(shape.get(name) or default, name, 1) for name, default in (("group_size", 3), ("limit", 10)))
    if shape.get("with_lookup") is not None:
        raise wrong_input("the lab stand-in does not serve with_lookup")
    payload, vector = _selectors(shape, False)
    inner = {name: item for name, item in shape.items() if name not in ("group_by", "group_size", "limit")}
    with engine_call():
        request = queries.parse_request(inner, lookup_in(storage, collection), True, vector, max(1, collection.count()))
        found = collection.shard.query(request)
    groups: dict[str | int, list[edge.ScoredPoint]] = {}
    for point in found:
        for value in _grouping(point.payload or {}, key):
            if value in groups or len(groups) < limit:
                hits = groups.setdefault(value, [])
                if len(hits) < size:
                    hits.append(point)
    shown = {point.id: point for point in _reselect(collection, groups, payload, vector)} if payload is not True else {}
    return {"groups": [{"id": value, "hits": _hits(hits, payload, vector, shown)} for value, hits in groups.items()]}


def _reselect(
    collection: Collection, groups: dict[str | int, list[edge.ScoredPoint]], payload: Any, vector: Any
) -> list[edge.Record]:
    ids = list({point.id for hits in groups.values() for point in hits})
    with engine_call():
        return collection.shard.retrieve(ids, payload, vector)


def _hits(
    hits: list[edge.ScoredPoint], payload: Any, vector: Any, shown: dict[Any, edge.Record]
) -> list[dict[str, Any]]:
    found = []
    for point in hits:
        entry = record_json(point, payload, vector)
        if shown:
            entry["payload"] = None if payload is False else shown[point.id].payload
        found.append(entry)
    return found


def _grouping(payload: dict[str, Any], key: str) -> list[str | int]:
    """The values of a dotted payload path that can name a group; an array gives each of its values."""
    level: list[Any] = [payload]
    for part in key.split("."):
        name = part.removesuffix("[]")
        level = [item[name] for item in level if isinstance(item, dict) and name in item]
        level = [inner for item in level for inner in (item if isinstance(item, list) else [item])]
    seen = dict.fromkeys(item for item in level if isinstance(item, str | int) and not isinstance(item, bool))
    return list(seen)
