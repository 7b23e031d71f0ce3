"""The whole service on vectors of a model server: llama.cpp's, with SmolLM2's hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xllamacpp

from app.errors import ConfigurationError
from app.providers.local import bundled_model
from app.settings import Settings
from tests.api.conftest import started
from tests.api.test_errors import QUERY, is_problem

NOTE = "# Harbour\n\nA berth costs 34 euros a night."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(bundled_model())
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 256
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.verbosity = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


def settings(folder: Path, url: str, **values: Any) -> Settings:
    fields = {"embedding_provider": "openai", "embedding_model": "smollm2", "embedding_dimension": 576, **values}
    return Settings(data_dir=folder, job_poll_seconds=0.02, embedding_base_url=url, provider_retries=0, **fields)


async def test_documents_are_indexed_and_found_and_another_model_is_refused(tmp_path: Path, url: str) -> None:
    async with started(settings(tmp_path, url)) as running:
        await running.add(NOTE)
        answer = await running.ask("What does a berth cost?", strategy="dense", threshold=0)
        counted = (await running.stranger.get("/metrics")).text
    assert "34 euros" in answer["answer"]
    assert 'anchorage_tokens_total{kind="embedding",model="smollm2",provider="openai"}' in counted
    with pytest.raises(ConfigurationError, match=r"smollm2@openai/576/l2.*all-MiniLM-L6-v2"):
        async with started(Settings(data_dir=tmp_path)):
            pass


async def test_while_the_server_is_away_questions_by_meaning_say_so(tmp_path: Path) -> None:
    async with started(settings(tmp_path, "http://127.0.0.1:9/v1")) as running:
        asked = {"query": "What does a berth cost?", "strategy": "dense"}
        problem = is_problem(await running.client.post(QUERY, json=asked), 503, "provider_failed")
        by_words = await running.ask("What does a berth cost?", strategy="sparse")
    assert problem["dependency"] == "openai"
    assert "EMBEDDING_BASE_URL" in problem["detail"]
    assert not by_words["grounded"]
