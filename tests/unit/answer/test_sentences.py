"""Sentences and stems, where naive splitting goes wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.sentences import coverage, sentence_spans, split_sentences, stems


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Set e.g. Postgres 15.3 up. Done.", ["Set e.g. Postgres 15.3 up.", "Done."]),
        ("Dr. Brown met J. Smith. They spoke.", ["Dr. Brown met J. Smith.", "They spoke."]),
        ("A line\nwrapped by hand. Next.", ["A line wrapped by hand.", "Next."]),
        ("name | price\nberth | 34", ["name | price", "berth | 34"]),
        ('He said "go." Then he left.', ['He said "go."', "Then he left."]),
        ("The U.S. Army came to the U.S. The rest left.", ["The U.S. Army came to the U.S.", "The rest left."]),
        ("Take vitamin C. The body needs it.", ["Take vitamin C.", "The body needs it."]),
        ("See No. 5 at 3.14 p.m. today. I say No. Really.", ["See No. 5 at 3.14 p.m. today.", "I say No.", "Really."]),
        ("It grew.[12] Then it fell.", ["It grew.[12]", "Then it fell."]),
        ("1. Stop it. Wait.\n2. Start\n   it.\n- Done", ["1. Stop it.", "Wait.", "2. Start it.", "- Done"]),
        ("Set this:\n\n    a. B\n    c = 1\n\nDone.", ["Set this:", "a. B", "c = 1", "Done."]),
        ("port = 5432\nlog. Level = 3\nThat is all.", ["port = 5432", "log. Level = 3", "That is all."]),
        ("```\na. B\n```\nDone.", ["```", "a. B", "```", "Done."]),
        ("\u3053\u308c\u3002\u305d\u308c\u3002", ["\u3053\u308c\u3002", "\u305d\u308c\u3002"]),
        ("\u0414\u0430. \u041d\u0435\u0442.", ["\u0414\u0430.", "\u041d\u0435\u0442."]),
        ("", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(max_size=300))
def test_no_word_is_lost(text: str) -> None:
    assert "".join(" ".join(split_sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("connections", "connection"),
        ("Limits", "limiting"),
        ("stopped", "stop"),
        ("café", "cafe"),
        ("used", "using"),
        ("uses", "use"),
        ("carried", "carries"),
        ("processes", "process"),
        ("speeds", "speed"),
        ("harbour's", "harbours"),
    ],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stems(one) == stems(other)


@pytest.mark.parametrize(("one", "other"), [("bring", "bred"), ("need", "net"), ("string", "stress"), ("1871", "1872")])
def test_other_words_do_not(one: str, other: str) -> None:
    assert stems(one) != stems(other)


def test_words_that_carry_nothing_are_left_out() -> None:
    assert stems("What's the harbour's depth, and why is it so?") == ["harbour", "depth"]


def test_spans_point_into_the_text() -> None:
    text = "  One is.  Two are!\nThree "
    assert [text[start:end] for start, end in sentence_spans(text)] == ["One is.", "Two are!", "Three"]


def test_coverage_weighs_rare_words() -> None:
    assert coverage(["rare", "common"], ["rare"], {"rare": 3.0, "common": 1.0}) == 0.75
    assert coverage([], ["x"]) == 0.0


@pytest.mark.parametrize(
    "piece", ["a. ", "A. ", "(", " \n", ".", "a", "'", ".[1]", "1. ", "= ", "{\n", "`", "- x\n", ". \u201c", "\u3002"]
)
def test_hostile_texts_take_no_time(piece: str) -> None:
    """Eight times the text takes some eight times as long, not sixty-four."""

    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        split_sentences(text)
        stems(text)
        return time.process_time() - start

    assert seconds(16_000) < 24 * max(seconds(2_000), 0.001)
