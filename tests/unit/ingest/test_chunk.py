"""Chunks of any text: nothing lost, none too long for the model, always the same."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from app.db.collection_settings import CHUNK_TOKENS
from app.ingest.chunk import chunk, chunk_id, embedding_text
from app.ingest.parse import Block
from app.providers.embedding import BundledEmbedder

WORDS = st.sampled_from(
    [
        "the",
        "checkpoint",
        "antidisestablishmentarianism",
        "WAL",
        "x_9",
        "naïve",
        "中文字",
        "🙂",
        "e.g.",
        "3.14",
        "\u200b",
        "a" * 120,
    ]
)
TEXT = st.lists(
    st.tuples(WORDS, st.sampled_from([" ", " ", " ", ". ", "\n", "\n\n", "", "? "])), min_size=1, max_size=500
).map(lambda parts: "".join(word + end for word, end in parts).strip() or "x")
BLOCKS = st.lists(
    st.builds(
        Block,
        TEXT,
        st.lists(st.text("ab c", min_size=1, max_size=90), max_size=3).map(tuple),
        st.one_of(st.none(), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=4,
)


@cache
def model() -> BundledEmbedder:
    return BundledEmbedder(threads=1)


@settings(max_examples=60, deadline=None)
@given(BLOCKS)
def test_nothing_is_lost_and_nothing_is_too_long(blocks: list[Block]) -> None:
    offsets = model().token_offsets
    chunks = chunk(blocks, offsets)
    assert chunks == chunk(blocks, offsets)
    assert [item.position for item in chunks] == list(range(len(chunks)))
    for made in chunks:
        assert 0 < made.token_count <= CHUNK_TOKENS
        embedded = embedding_text("A title " * 40, made.heading_path, made.text, offsets)
        assert len(offsets(embedded)) <= model().max_tokens
    # Every chunk is a verbatim part of its section, in order; what lies between two holds no token.
    remaining = iter(chunks)
    item = next(remaining, None)
    sections: list[tuple[tuple[str, ...], int | None, str]] = []
    for block in blocks:
        if sections and sections[-1][:2] == (block.heading_path, block.page):
            sections[-1] = (*sections[-1][:2], f"{sections[-1][2]}\n\n{block.text}")
        else:
            sections.append((block.heading_path, block.page, block.text))
    for path, page, section in sections:
        read = 0
        while item is not None and (item.heading_path, item.page) == (path, page):
            start = _find(section, item.text, read)
            if start < 0:
                break
            assert offsets(section[read:start]) == []
            read = start + len(item.text)
            item = next(remaining, None)
        assert offsets(section[read:]) == []
    assert item is None


def _find(section: str, text: str, read: int) -> int:
    """Where the chunk stands that goes on at ``read``; it may begin before, by the overlap."""
    found = section.find(text, max(0, read - 4000))
    best = -1
    while found >= 0 and (found <= read or best < 0):
        if found + len(text) > read:
            best = found
        found = section.find(text, found + 1)
    return best


def test_a_long_section_is_cut_at_its_sentences_and_overlaps_by_some() -> None:
    section = " ".join(f"This is sentence number {number} of the long section." for number in range(120))
    chunks = chunk([Block(section, ("Head",), 3)], model().token_offsets)
    assert len(chunks) > 5
    for item in chunks:
        assert item.text.startswith("This is sentence")
        assert item.text.endswith("section.")
        assert (item.heading_path, item.page) == (("Head",), 3)
    for left, right in pairwise(chunks):
        assert right.text.split(". ")[0] in left.text


def test_tokens_are_the_same_however_the_text_is_cut_for_counting() -> None:
    """Sections above 20,000 characters are counted by pieces."""
    section = " ".join(f"Sentence {number} says something, antidisestablishmentarianism." for number in range(1500))
    chunks = chunk([Block(section)], model().token_offsets)
    assert all(len(model().token_offsets(item.text)) == item.token_count for item in chunks)
    assert chunks[-1].text.endswith("Sentence 1499 says something, antidisestablishmentarianism.")


def test_ids_follow_from_version_and_position() -> None:
    version = UUID(int=7)
    assert chunk_id(version, 3) == chunk_id(version, 3)
    assert len({chunk_id(UUID(int=v), p) for v in range(3) for p in range(50)}) == 150
