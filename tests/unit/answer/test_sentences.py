"""Sentences and stems, where naive splitting goes wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.sentences import coverage, split_sentences, stems


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Set e.g. Postgres 15.3 up. Done.", ["Set e.g. Postgres 15.3 up.", "Done."]),
        ("Dr. Brown met J. Smith. They spoke.", ["Dr. Brown met J. Smith.", "They spoke."]),
        ("A line\nwrapped by hand. Next.", ["A line wrapped by hand.", "Next."]),
        ("name | price\nberth | 34", ["name | price", "berth | 34"]),
        ("", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(max_size=300))
def test_no_word_is_lost(text: str) -> None:
    assert "".join(" ".join(split_sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("one", "other"), [("connections", "connection"), ("Limits", "limiting"), ("stopped", "stop"), ("café", "cafe")]
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stems(one) == stems(other)


def test_coverage_weighs_rare_words() -> None:
    assert coverage(["rare", "common"], ["rare"], {"rare": 3.0, "common": 1.0}) == 0.75
    assert coverage([], ["x"]) == 0.0


def test_a_long_hostile_text_takes_no_time() -> None:
    start = time.perf_counter()
    split_sentences("a. " * 50_000 + "(" * 50_000 + " \n" * 20_000)
    assert time.perf_counter() - start < 2
