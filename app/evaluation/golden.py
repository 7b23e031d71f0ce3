"""Golden questions: what the documents answered once, asked again of a restored copy of them.

Each is answered by quoting, past the cache: no model is paid, and the same documents give the same citations.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from app.answer.pipeline import Pipeline
from app.answer.question import Answer, Question
from app.db.models import Collection, QueryLogEntry
from app.db.session import Database
from app.errors import ConfigurationError, NotFoundError
from app.retrieval.options import RetrievalWishes
from app.settings import AnswerProvider

# Of the file; raise it when its form changes.
FORM = 1


@dataclass(frozen=True, slots=True)
class Golden:
    """A question to one collection of a tenant, and the ids of the chunks that its answer cited, sorted."""

    tenant_id: UUID
    collection: str
    question: str
    cited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A question whose citations are others than they were; ``found`` is None where its collection is gone."""

    question: str
    collection: str
    expected: tuple[str, ...]
    found: tuple[str, ...] | None


async def asked_before(database: Database, limit: int) -> list[Golden]:
    """The newest questions of the query log that were answered from documents, each once; empty where it is off."""
    newest = func.max(QueryLogEntry.created_at)
    query = (
        select(QueryLogEntry.tenant_id, Collection.name, QueryLogEntry.query)
        .join(Collection, Collection.id == QueryLogEntry.collection_id)
        .where(QueryLogEntry.grounded)
        .group_by(QueryLogEntry.tenant_id, Collection.name, QueryLogEntry.query)
        # By the text too, so that of one moment always the same are taken.
        .order_by(newest.desc(), QueryLogEntry.query)
        .limit(limit)
    )
    async with database.session(reading=True) as session:
        return [Golden(*row) for row in await session.execute(query)]


async def answered(pipeline: Pipeline, questions: Sequence[Golden]) -> list[Golden]:
    """Those that the documents answer, with what they cite now."""
    found = [replace(golden, cited=await _cited(pipeline, golden)) for golden in questions]
    return [golden for golden in found if golden.cited]


async def compare(pipeline: Pipeline, questions: Sequence[Golden]) -> list[Difference]:
    """Ask again; what is cited otherwise than before."""
    differences = []
    for golden in questions:
        try:
            found: tuple[str, ...] | None = await _cited(pipeline, golden)
        except NotFoundError:
            found = None
        if found != golden.cited:
            differences.append(Difference(golden.question, golden.collection, golden.cited, found))
    return differences


async def _cited(pipeline: Pipeline, golden: Golden) -> tuple[str, ...]:
    question = Question(
        tenant_id=golden.tenant_id,
        request_id="golden",
        text=golden.question,
        collection=golden.collection,
        retrieval=RetrievalWishes(),
        provider=AnswerProvider.EXTRACTIVE,
        use_cache=False,
    )
    async with aclosing(pipeline.ask(question)) as events:
        async for event in events:
            if isinstance(event, Answer):
                return tuple(sorted({citation.chunk_id for citation in event.citations}))
    raise RuntimeError("the pipeline ended without an answer")


def write(file: Path, questions: Sequence[Golden]) -> None:
    """Keep them, for the owner's eyes alone: people's questions are in there. The file is there whole or as before."""
    rows = [
        {"tenant_id": str(g.tenant_id), "collection": g.collection, "question": g.question, "cited": list(g.cited)}
        for g in questions
    ]
    beside = file.with_name(file.name + ".new")
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as handle:
        json.dump({"form": FORM, "questions": rows}, handle, indent=1)
    beside.replace(file)


def read(file: Path) -> list[Golden]:
    """What ``write`` wrote, or somebody by hand. Raises ConfigurationError, which names what is wrong with it."""
    try:
        content = json.loads(file.read_text())
        if content["form"] != FORM:
            raise ConfigurationError(f"{file} has form {content['form']}; this release reads {FORM}. Record it anew.")
        return [_golden(row) for row in content["questions"]]
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{file} holds no golden questions ({type(error).__name__}: {error}). Make it by `anchorage golden record`."
        ) from None


def _golden(row: dict[str, Any]) -> Golden:
    cited = tuple(sorted(str(UUID(chunk)) for chunk in row["cited"]))
    return Golden(UUID(row["tenant_id"]), str(row["collection"]), str(row["question"]), cited)
