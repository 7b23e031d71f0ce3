"""The bundled model itself: what it finds alike, and that a text's vector is its own."""

from __future__ import annotations

import numpy as np
import pytest

from app.providers.embedding import BundledEmbedder


@pytest.fixture(scope="module")
def embedder() -> BundledEmbedder:
    return BundledEmbedder(threads=2)


async def test_paraphrases_are_near_and_strangers_far(embedder: BundledEmbedder) -> None:
    alike = [
        ("How do I restore a database backup?", "How can I restore a backup of the database?"),
        ("The server refuses connections.", "Connections are being refused by the server."),
    ]
    strangers = [
        ("How do I restore a database backup?", "Bake the bread for forty minutes."),
        ("The server refuses connections.", "Dolphins sleep with half of their brain."),
    ]
    for left, right in alike:
        assert await embedder.embed_query(left) @ await embedder.embed_query(right) > 0.8
    for left, right in strangers:
        assert await embedder.embed_query(left) @ await embedder.embed_query(right) < 0.3


async def test_a_vector_does_not_depend_on_the_texts_beside_it(embedder: BundledEmbedder) -> None:
    texts = ["short", "a sentence of some more words, with a comma", "long " * 300, "", "ünïcödé 中文 🙂", "short"]
    together = await embedder.embed_documents(texts)
    alone = np.stack([await embedder.embed_query(text) for text in texts])
    assert together.shape == (6, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(together - alone).max() < 1e-5


async def test_no_texts_are_no_vectors(embedder: BundledEmbedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, 384)


async def test_what_is_beyond_the_limit_is_not_read_and_token_offsets_say_where_it_is(
    embedder: BundledEmbedder,
) -> None:
    words = "word " * 400
    offsets = embedder.token_offsets(words)
    assert len(offsets) == 400
    assert words[slice(*offsets[7])] == "word"
    end = offsets[embedder.max_tokens - 1][1]
    whole, cut = await embedder.embed_query(words), await embedder.embed_query(words[:end])
    assert whole @ cut == pytest.approx(1.0, abs=1e-5)
