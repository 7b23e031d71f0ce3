"""Retrieval over HTTP: every option does what it says, and ``explain`` shows how."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from app.db.models import Document, DocumentVersion, JobKind
from app.ingest.jobs import enqueue
from app.settings import Settings
from tests.api.conftest import Running, started
from tests.api.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEARCH = "/api/v1/search"
FACTS = {
    "berths.md": ("A berth costs 34 euros a night.", {"year": 2024, "lang": "en", "tags": ["price", "night"]}),
    "liegen.md": ("Ein Liegeplatz kostet 34 Euro die Nacht.", {"year": 2023, "lang": "de", "tags": ["price"]}),
    "crane.md": ("The crane lifts boats of up to nine tons.", {"year": 2019, "lang": "en", "since": "2019-05-01"}),
    "copy-of-berths.md": ("A berth costs 34 euros a night, as ever.", {"year": 2018, "lang": "en"}),
    "winter.md": ("In winter a berth on land costs half.", {"lang": "en", "draft": True}),
}
# Two sections of several chunks each: neighbours are told from strangers by their heading.
RULES = {part: [f"Rule {part}-{n} of the harbour says what to do in case {n}." for n in range(40)] for part in "AB"}
LONG = "".join(f"# Part {part}\n\n{' '.join(rules)}\n\n" for part, rules in RULES.items())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harbour(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service with the documents, whose reranker is not there."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("harbour"), job_poll_seconds=0.02, rerank_url="http://127.0.0.1:1/v1/rerank"
    )
    async with started(settings) as running:
        for source, (text, metadata) in FACTS.items():
            await describe(running, await running.add(text, source.split(".")[0], source=source), metadata)
        await running.add(LONG, "Rules", source="rules.md")
        yield running


async def describe(running: Running, document_id: str, metadata: dict[str, Any]) -> None:
    """Give a document metadata, and index it again with them."""
    async with running.services.database.session() as session:
        document = await session.get_one(Document, UUID(document_id))
        assert document.current_version_id is not None
        version = await session.get_one(DocumentVersion, document.current_version_id)
        version.attributes = metadata
        job = enqueue(session, JobKind.INDEX, document.tenant_id, document.id, version.id, datetime.now(UTC))
    await running.finished(str(job.id))


async def search(running: Running, query: str, **fields: Any) -> dict[str, Any]:
    response = await running.client.post(SEARCH, json={"query": query, **fields})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def sources(found: dict[str, Any]) -> list[str]:
    return [passage["source"] for passage in found["passages"]]


@pytest.mark.parametrize("strategy", ["hybrid", "dense", "sparse"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"lang": "de"}, {"liegen.md"}),
        ({"year": {"gte": 2020}, "lang": "en"}, {"berths.md"}),
        ({"tags": {"in": ["night", "day"]}}, {"berths.md"}),
        ({"source": "crane.md"}, {"crane.md"}),
        ({"title": {"in": ["crane", "winter"]}, "draft": {"exists": False}}, {"crane.md"}),
        ({"media_type": "text/html"}, set()),
        ({"year": {"lt": 0}}, set()),
    ],
)  # fmt: skip
async def test_only_what_matches_is_found(
    harbour: Running, strategy: str, filters: dict[str, Any], expected: set[str]
) -> None:
    query = "berth crane boats euros Liegeplatz night rules"
    found = sources(await search(harbour, query, strategy=strategy, filters=filters))
    assert set(found) == expected


async def test_dates_are_compared_as_moments(harbour: Running) -> None:
    found = await search(harbour, "harbour", strategy="dense", filters={"since": {"lte": "2019-05-01T00:00:00+00:00"}})
    assert sources(found) == ["crane.md"]
    found = await search(harbour, "harbour", strategy="dense", filters={"since": {"lt": "2019-05-01T01:00:00+02:00"}})
    assert sources(found) == []


async def test_a_filter_holds_for_answers_too_and_has_its_own_cache_entries(harbour: Running) -> None:
    question = "How much does a berth cost a night?"
    old = await harbour.ask(question, filters={"year": {"lt": 2020}})
    new = await harbour.ask(question, filters={"year": {"gte": 2020}})
    assert [citation["source"] for citation in old["citations"]] == ["copy-of-berths.md"]
    assert "copy-of-berths.md" not in [citation["source"] for citation in new["citations"]]
    assert new["cache"]["status"] == "miss"
    assert (await harbour.ask(question, filters={"year": {"gte": 2020}}))["cache"]["status"] == "exact"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"filters": {"year": {"above": 1}}}, "filters.year.above"),
        ({"filters": {"$or": [{"year": 1}, {"a b": 1}]}}, "filters.$or.1.a b"),
        ({"filters": {"year": {"gt": "soon"}}}, "filters.year.gt"),
        ({"filters": [1]}, "filters"),
        ({"fusion": "max"}, "fusion"),
        ({"weights": {"dense": 0, "sparse": 0}}, "weights"),
        ({"weights": {"dense": -1}}, "weights.dense"),
        ({"mmr_lambda": 1.1}, "mmr_lambda"),
        ({"expand": 6}, "expand"),
        ({"min_similarity": -1}, "min_similarity"),
    ],
)
@pytest.mark.parametrize("path", [SEARCH, "/api/v1/query"])
async def test_what_can_not_be_used_is_named(harbour: Running, path: str, fields: dict[str, Any], field: str) -> None:
    response = await harbour.client.post(path, json={"query": "x", **fields})
    assert [error["field"] for error in is_problem(response, 422, "validation_failed")["errors"]] == [field]


@pytest.mark.parametrize("text", ["nul\x00", "\ud83d"])
async def test_characters_that_no_store_takes_are_refused(harbour: Running, text: str) -> None:
    body = b'{"query": "x", "filters": {"a": "%s"}}' % text.encode("unicode_escape").replace(b"\\x00", b"\\u0000")
    response = await harbour.client.post(SEARCH, content=body, headers={"Content-Type": "application/json"})
    is_problem(response, 422, "validation_failed")


async def test_weights_move_the_fusion_from_one_search_to_the_other(harbour: Running) -> None:
    query = "What does a place for my boat cost?"
    for fusion in ("rrf", "weighted"):
        for side in ("dense", "sparse"):
            weights = {"dense": 0, "sparse": 0} | {side: 1}
            alone = sources(await search(harbour, query, strategy=side, top_k=3))
            fused = sources(await search(harbour, query, fusion=fusion, weights=weights, top_k=3))
            assert fused[: len(alone)] == alone, (fusion, side)


async def test_similarity_is_a_gate_for_all_or_a_measure_for_each(harbour: Running) -> None:
    query, facts = "How much does a berth cost a night?", {"filters": {"source": {"ne": "rules.md"}}}
    cosines = {p["source"]: p["dense_score"] for p in (await search(harbour, query, **facts))["passages"]}
    best = max(cosines.values())
    assert sources(await search(harbour, query, threshold=min(1, best + 0.01), **facts)) == []
    assert len(sources(await search(harbour, query, threshold=best - 0.01, **facts))) == len(cosines) == len(FACTS)
    middle = sorted(cosines.values())[len(cosines) // 2]
    kept = sources(await search(harbour, query, min_similarity=middle, **facts))
    assert set(kept) == {source for source, cosine in cosines.items() if cosine >= middle}


async def test_diversity_leaves_out_what_says_the_same(harbour: Running) -> None:
    query = "How much does a berth cost a night?"
    plain = sources(await search(harbour, query, top_k=2, filters={"lang": "en"}))
    diverse = sources(await search(harbour, query, top_k=2, filters={"lang": "en"}, mmr_lambda=0.3))
    assert set(plain) == {"berths.md", "copy-of-berths.md"}
    assert diverse[0] == plain[0]
    assert diverse[1] not in plain
    assert sources(await search(harbour, query, top_k=2, filters={"lang": "en"}, mmr_lambda=1)) == plain


async def test_a_passage_takes_in_its_neighbours_and_keeps_its_own_name(harbour: Running) -> None:
    query, only = "What says rule A-30 about case 30?", {"filters": {"source": "rules.md"}}
    plain = (await search(harbour, query, top_k=1, **only))["passages"][0]
    wide = (await search(harbour, query, top_k=1, expand=1, **only))["passages"][0]
    whole = (await search(harbour, query, top_k=1, expand=5, **only))["passages"][0]
    assert plain["first"] == plain["last"]
    assert wide["chunk_id"] == whole["chunk_id"] == plain["chunk_id"]
    assert wide["last"] - wide["first"] in (1, 2)
    # All of its section, each rule once, and nothing of the other.
    assert [f"Rule A-{n} " in whole["text"] for n in range(40)] == [True] * 40
    assert whole["text"].count("Rule A-") == 40
    assert "Rule B-" not in whole["text"]


async def test_neighbours_that_were_found_themselves_are_said_once(harbour: Running) -> None:
    query, only = "What says the harbour to do in case 30?", {"filters": {"source": "rules.md"}}
    found = await search(harbour, query, top_k=6, expand=2, explain=True, **only)
    said = " ".join(passage["text"] for passage in found["passages"])
    assert all(said.count(f"Rule {part}-{n} ") <= 2 for part in "AB" for n in range(40))
    merged = [c for c in found["explanation"]["candidates"] if c["dropped"] == "merged"]
    kept = {passage["chunk_id"] for passage in found["passages"]}
    assert merged
    assert all(candidate["merged_into"] in kept for candidate in merged)


async def test_an_explanation_holds_every_stage_and_every_reason(harbour: Running) -> None:
    query = "How much does a berth cost a night?"
    found = await search(harbour, query, top_k=2, mmr_lambda=0.5, min_similarity=0.2, rerank=True, explain=True)
    explained = found["explanation"]
    assert explained["rerank"]["applied"] is False
    assert "can't be reached" in explained["rerank"]["reason"]
    by_id = {candidate["chunk_id"]: candidate for candidate in explained["candidates"]}
    for rank, passage in enumerate(found["passages"], start=1):
        stages = by_id[passage["chunk_id"]]["stages"]
        assert stages["mmr"]["rank"] == rank
        assert stages["fusion"]["score"] == passage["score"]
        assert stages["dense"] == {"rank": passage["dense_rank"], "score": passage["dense_score"]}
    dropped = {candidate["dropped"] for candidate in explained["candidates"]}
    assert dropped == {None, "top_k", "min_similarity"}
    assert len([c for c in explained["candidates"] if c["dropped"] is None]) == len(found["passages"])
    assert set(found["timings_ms"]) == {"embed", "search", "read", "rerank", "mmr"}


async def test_a_reranker_that_fails_leaves_the_results_and_a_flag(harbour: Running) -> None:
    query = "How much does a berth cost a night?"
    plain, asked = await search(harbour, query), await search(harbour, query, rerank=True)
    assert sources(plain) == sources(asked)
    assert (plain["reranked"], asked["reranked"]) == (None, False)
    # What was answered without it is not kept: it would be another answer with it.
    for _ in range(2):
        assert (await harbour.ask(query, rerank=True))["cache"]["status"] == "miss"
