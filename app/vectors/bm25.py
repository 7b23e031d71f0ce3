"""Sparse vectors of words, made in the service in both modes.

Qdrant Edge's own ``Bm25`` is the server's tokenizer and weighting (k 1.2, b 0.75, English stop words and
Snowball stems): term weights of Robertson and Zaragoza 2009 without the inverse document frequency, which the
index applies. Accents are folded, so that "cafe" finds "café".
"""

from __future__ import annotations

import qdrant_edge

from app.vectors.protocols import SparseVector


class Bm25Encoder:
    """Text to term ids and weights."""

    def __init__(self) -> None:
        self._model = qdrant_edge.Bm25(qdrant_edge.Bm25Config(ascii_folding=True))

    def query(self, text: str) -> SparseVector:
        """Each word of the question once, with weight 1; empty when it has only stop words."""
        vector = self._model.embed_query(text)
        return SparseVector(list(vector.indices), list(vector.values))

    def document(self, text: str) -> SparseVector:
        """Term-frequency weights of a chunk."""
        vector = self._model.embed_document(text)
        return SparseVector(list(vector.indices), list(vector.values))
