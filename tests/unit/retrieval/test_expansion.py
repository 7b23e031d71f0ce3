"""Neighbours joined are the section again: nothing lost, nothing said twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.ingest.chunk import chunk
from app.ingest.parse import Block
from app.retrieval.expansion import joined

sentences = st.lists(
    st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=6, max_size=12).map(lambda w: " ".join(w) + "."),
    min_size=1,
    max_size=40,
).map(lambda found: [f"Sentence {number:03} {sentence}" for number, sentence in enumerate(found)])


def words(text: str) -> list[tuple[int, int]]:
    """A word a token."""
    offsets, at = [], 0
    for word in text.split(" "):
        offsets.append((at, at + len(word)))
        at += len(word) + 1
    return offsets


@given(sentences)
def test_the_chunks_of_a_section_are_that_section(sentences: list[str]) -> None:
    section = " ".join(sentences)
    cut = chunk([Block(section, ("Head",), None)], words, max_tokens=40, overlap_tokens=16)
    assert joined([item.text for item in cut]).split() == section.split()
