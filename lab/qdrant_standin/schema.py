"""Collection parameters and payload index parameters: JSON to the engine's and back."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from .errors import format_error, wrong_input
from .values import HIDDEN_VECTOR, Json, need, obj, text, whole

CREATE = (
    "vectors sparse_vectors shard_number sharding_method replication_factor write_consistency_factor on_disk_payload "
    "payload id_tracker hnsw_config wal_config optimizers_config quantization_config strict_mode_config metadata"
)
_DENSE = "size distance hnsw_config quantization_config on_disk datatype multivector_config memory"
_NEVER_INDEX_KB = 10**9
_DISTANCES = {kind: getattr(edge.Distance, kind) for kind in ("Cosine", "Euclid", "Dot", "Manhattan")}
_DATATYPES = {
    None: None, "float32": edge.VectorStorageDatatype.Float32, "float16": edge.VectorStorageDatatype.Float16,
    "uint8": edge.VectorStorageDatatype.Uint8,
}  # fmt: skip


def engine_config(create: dict[str, Any]) -> edge.EdgeConfig:
    """The engine's configuration of a collection.

    No HNSW graph is ever asked for: building one holds the interpreter for the whole time, so the stand-in scans
    exactly (some ms at lab size) and reports the requested parameters back unchanged.
    """
    return edge.EdgeConfig(
        vectors=_dense(create.get("vectors")),
        sparse_vectors=_sparse(create.get("sparse_vectors"), bool(create.get("vectors"))),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_NEVER_INDEX_KB),
    )


def _dense(value: Json) -> Any:
    if not value:
        return None
    if isinstance(value, dict) and "size" in value:
        return _dense_one(value, "vectors")
    named = obj(value, "vectors", " ".join(value)) if isinstance(value, dict) else obj(value, "vectors", "")
    return {name: _dense_one(item, f"vectors.{name}") for name, item in named.items()}


def _dense_one(value: Json, where: str) -> edge.EdgeVectorParams:
    shape = obj(value, where, _DENSE)
    distance = need(shape, "distance", where)
    if distance not in _DISTANCES:
        raise format_error(f"{where}.distance: unknown variant `{distance}`, expected one of {', '.join(_DISTANCES)}")
    if shape.get("datatype") not in _DATATYPES:
        raise format_error(f"{where}.datatype: expected float32, float16 or uint8")
    size = whole(need(shape, "size", where), f"{where}.size", 1)
    if size > 65536:
        raise wrong_input(f"{where}.size: {size} is above the limit of 65536")
    multi = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if shape.get("multivector_config") else None
    datatype = _DATATYPES[shape.get("datatype")]
    return edge.EdgeVectorParams(size, _DISTANCES[distance], multivector_config=multi, datatype=datatype)


def _sparse(value: Json, has_dense: bool) -> dict[str, edge.EdgeSparseVectorParams] | None:
    if not value:
        return None if has_dense else {HIDDEN_VECTOR: edge.EdgeSparseVectorParams()}
    found = {}
    for name, item in value.items():
        shape = obj(item or {}, f"sparse_vectors.{name}", "index modifier")
        if shape.get("modifier") not in (None, "none", "idf"):
            raise format_error(f"sparse_vectors.{name}.modifier: expected none or idf")
        modifier = edge.Modifier.Idf if shape.get("modifier") == "idf" else None
        found[name] = edge.EdgeSparseVectorParams(modifier=modifier)
    return found


def described(create: dict[str, Any], flush_interval_s: float) -> dict[str, Any]:
    """`config` of the collection's description: what was asked for, completed by the server's defaults."""
    params = {
        "vectors": create.get("vectors") or {},
        "shard_number": create.get("shard_number") or 1,
        "replication_factor": create.get("replication_factor") or 1,
        "write_consistency_factor": create.get("write_consistency_factor") or 1,
        "on_disk_payload": create.get("on_disk_payload", True),
    }
    if create.get("sparse_vectors"):
        params["sparse_vectors"] = {name: item or {} for name, item in create["sparse_vectors"].items()}
    hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0, "on_disk": False}
    optimizer = {
        "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
        "indexing_threshold": 10000, "flush_interval_sec": int(max(1, flush_interval_s)),
    }  # fmt: skip
    return {
        "params": params,
        "hnsw_config": hnsw | (create.get("hnsw_config") or {}),
        "optimizer_config": optimizer | (create.get("optimizers_config") or {}),
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0} | (create.get("wal_config") or {}),
        "quantization_config": create.get("quantization_config"),
        "metadata": create.get("metadata"),
    }


_INDEX_PARAMS: dict[str, Any] = {
    "keyword": edge.KeywordIndexParams, "integer": edge.IntegerIndexParams, "float": edge.FloatIndexParams,
    "geo": edge.GeoIndexParams, "text": edge.TextIndexParams, "bool": edge.BoolIndexParams,
    "datetime": edge.DatetimeIndexParams, "uuid": edge.UuidIndexParams,
}  # fmt: skip
_INDEX_KEYS = "type is_tenant is_principal on_disk lookup range enable_hnsw prefix memory"
_TEXT_KEYS = (
    "type tokenizer min_token_len max_token_len lowercase ascii_folding phrase_matching stopwords on_disk stemmer"
)


def field_index(value: Json) -> Any:
    """The engine's index parameters from `field_schema`: a type name or `{type, ...}`."""
    if isinstance(value, str):
        if value not in _INDEX_PARAMS:
            raise format_error(f"field_schema: unknown variant `{value}`, expected one of {', '.join(_INDEX_PARAMS)}")
        return _INDEX_PARAMS[value]()
    if not isinstance(value, dict):
        raise wrong_input("field_schema is required: a type name or an object with `type`")
    kind = text(need(value, "type", "field_schema"), "field_schema.type")
    if kind not in _INDEX_PARAMS:
        raise format_error(f"field_schema.type: unknown variant `{kind}`")
    if kind == "text":
        return edge.TextIndexParams(**_text(obj(value, "field_schema", _TEXT_KEYS)))
    shape = obj(value, "field_schema", _INDEX_KEYS)
    given = {key: item for key, item in shape.items() if key not in ("type", "memory") and item is not None}
    try:
        return _INDEX_PARAMS[kind](**given)
    except TypeError as error:
        raise format_error(f"field_schema: a {kind} index has no such parameter ({error})") from error


def _text(shape: dict[str, Any]) -> dict[str, Any]:
    given = {key: item for key, item in shape.items() if key != "type" and item is not None}
    if "tokenizer" in given:
        names = ("Prefix", "Whitespace", "Word", "Multilingual")
        kinds = {kind.lower(): getattr(edge.TokenizerType, kind) for kind in names}
        if given["tokenizer"] not in kinds:
            raise format_error(f"field_schema.tokenizer: expected one of {', '.join(kinds)}")
        given["tokenizer"] = kinds[given["tokenizer"]]
    for key in ("stopwords", "stemmer"):
        if key in given:
            raise wrong_input(f"field_schema.{key}: the lab stand-in does not set this")
    return given


def index_type(info: edge.PayloadIndexInfo) -> str:
    return str(info.data_type).rsplit(".", 1)[-1].lower()
