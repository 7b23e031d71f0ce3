"""`anchorage eval` on a small set, whole: its own service, its own index, and figures that can be reckoned by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.evaluation.dataset import load

DOCUMENTS = {
    "berth": "A berth costs 34 euros a night. Boats over twelve metres pay double.",
    "crane": "The crane lifts boats of up to nine tons, on weekdays until five.",
    "wifi": "The password of the wireless network hangs in the harbour office.",
}
QUESTIONS = [
    ("q1", "How much does a berth cost a night?", {"berth": 1}, ["34 euros"]),
    ("q2", "How heavy may a boat be that the crane lifts?", {"crane": 1}, ["nine tons"]),
    # Judged wrongly on purpose: no run can find the network for it first.
    ("q3", "Until when does the crane work on weekdays?", {"wifi": 1}, None),
    ("q4", "Who won the world cup of 1954?", {}, []),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "harbour"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": name, "title": name.title(), "text": text} for name, text in DOCUMENTS.items()]
    queries = [
        {"_id": name, "text": text} | ({} if answers is None else {"answers": answers})
        for name, text, _, answers in QUESTIONS
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    rows = [f"{name}\t{document}\t{grade}" for name, _, grades, _ in QUESTIONS for document, grade in grades.items()]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    return folder


def test_the_figures_are_those_of_the_set(dataset: Path) -> None:
    command = [sys.executable, "-c", "from app.cli import main; main()", "eval", str(dataset), "--json"]
    done = subprocess.run([*command, "--provider", "extractive"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["dataset"], report["documents"]) == ("harbour", 3)
    by_run = {ranking["run"]: ranking for ranking in report["rankings"]}
    assert set(by_run) == {"hybrid", "dense", "sparse"}
    hybrid = by_run["hybrid"]
    assert hybrid["questions"] == 3
    assert hybrid["p_1"] == pytest.approx(2 / 3)
    # The third question's document comes second or third, or is not found at all.
    assert 2 / 3 <= hybrid["mrr"] <= (2 + 1 / 2) / 3
    answers = report["answers"]
    assert answers["questions"] == 3
    assert answers["contains"] == 1.0
    assert answers["citation_precision"] == 1.0
    assert (answers["abstained"], answers["abstained_rightly"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("corpus.jsonl", None, "corpus.jsonl is missing"),
        ("corpus.jsonl", "{", "not JSON lines"),
        ("corpus.jsonl", '{"_id": "a"}', "line 1: text is missing"),
        ("corpus.jsonl", '{"_id": "a", "text": ""}\n{"_id": "a", "text": ""}', "a document id stands there twice"),
        ("queries.jsonl", "[]", "line 1: _id is missing"),
        ("qrels/test.tsv", "q1 berth 1\n", "line 1: expected query-id"),
        ("qrels/test.tsv", "q1\tberth\thigh\n", "line 1: expected query-id"),
    ],
)
def test_a_set_that_can_not_be_read_says_where(dataset: Path, file: str, text: str | None, message: str) -> None:
    if text is None:
        (dataset / file).unlink()
    else:
        (dataset / file).write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load(dataset)
