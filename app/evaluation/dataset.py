"""Sets of questions in the layout of BEIR (Thakur et al. 2021), with answers where they have any.

``corpus.jsonl`` has ``_id``, ``text`` and perhaps ``title`` and ``metadata``; ``queries.jsonl`` has ``_id``, ``text``
and perhaps ``answers`` (a list of texts, empty where the corpus holds none); ``qrels/*.tsv`` has the columns
``query-id``, ``corpus-id`` and ``score``. A set without ``qrels`` can measure answers, but no ranking.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """A document of the set; ``id`` is what judgements name."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question. ``relevant`` holds the grades (above 0) of the documents that answer it.

    ``answers`` is None where the set has none for it, and empty where it says that there is no answer.
    """

    id: str
    text: str
    relevant: dict[str, int]
    answers: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole set."""

    name: str
    documents: list[CorpusDocument]
    questions: list[Question]

    @property
    def judged(self) -> list[Question]:
        """The questions that ranking can be measured by."""
        return [question for question in self.questions if question.relevant]

    @property
    def answered(self) -> list[Question]:
        """The questions that answers can be measured by."""
        return [question for question in self.questions if question.answers is not None]


def load(folder: Path) -> Dataset:
    """Read a set.

    Raises:
        ConfigurationError: a file is missing or can't be read; names it and the line.
    """
    corpus = [
        CorpusDocument(_text(row, "_id", where), str(row.get("title") or ""), _text(row, "text", where))
        for where, row in _lines(folder / "corpus.jsonl")
    ]
    grades = _grades(folder / "qrels")
    questions = [
        Question(_text(row, "_id", where), _text(row, "text", where), grades.get(str(row["_id"]), {}), _answers(row))
        for where, row in _lines(folder / "queries.jsonl")
    ]
    for kind, ids in (("document", [d.id for d in corpus]), ("question", [q.id for q in questions])):
        if len(ids) != len(set(ids)):
            raise ConfigurationError(f"{folder}: a {kind} id stands there twice.")
    dataset = Dataset(folder.resolve().name, corpus, questions)
    if not dataset.judged and not dataset.answered:
        raise ConfigurationError(f"{folder} holds neither judgements (qrels/*.tsv) nor answers in queries.jsonl.")
    return dataset


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with file.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    yield f"{file}, line {number}", json.loads(line)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{file} is missing. A set has corpus.jsonl, queries.jsonl and qrels/*.tsv (BEIR)."
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{file} is not JSON lines in UTF-8: {error}") from None


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, str | int):
        raise ConfigurationError(f"{where}: {field} is missing or is no text.")
    return str(value)


def _answers(row: dict[str, Any]) -> tuple[str, ...] | None:
    given = row.get("answers")
    return tuple(map(str, given)) if isinstance(given, list) else None


def _grades(folder: Path) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    # BEIR's sets are judged by their test split; train and dev are for tuning.
    files = [folder / "test.tsv"] if (folder / "test.tsv").exists() else sorted(folder.glob("*.tsv"))
    for file in files:
        with file.open(encoding="utf-8", newline="") as handle:
            for number, row in enumerate(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
                if number == 1 and row[-1:] == ["score"]:
                    continue
                try:
                    question, document, score = row
                    if int(score) > 0:
                        grades.setdefault(question, {})[document] = int(score)
                except ValueError:
                    raise ConfigurationError(
                        f"{file}, line {number}: expected query-id, corpus-id and a whole score, split by tabs."
                    ) from None
    return grades
