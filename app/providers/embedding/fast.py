"""Vectors by fastembed: the published ONNX models, from a hub or from a folder."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ConfigurationError
from app.providers.embedding.remote import Prefixes
from app.providers.protocols import EmbeddingIdentity, Matrix, Vector

INSTALL = "Install it with: pip install 'anchorage[fastembed]'"
# More would be padded to the longest of them.
BATCH_SIZE = 8
DEFAULT_MAX_TOKENS = 512


class FastEmbedder:
    """A model that fastembed knows, in threads of this process; its own tokenizer measures the texts."""

    def __init__(
        self, *, model: str, identity: EmbeddingIdentity, path: Path | None, threads: int, prefixes: Prefixes
    ) -> None:
        """Load the model, fetching it first where no ``path`` is given.

        Raises:
            ConfigurationError: fastembed is missing, doesn't know the model, or can't read or fetch it.
        """
        fastembed = _package()
        folder = {"specific_model_path": str(path)} if path is not None else {}
        try:
            # What can go wrong is of the hub's client, of onnxruntime and of fastembed, each with errors of its own.
            self._model = fastembed.TextEmbedding(model, threads=threads or None, **folder)
        except Exception as error:
            raise ConfigurationError(
                f"fastembed can't load {model!r} ({type(error).__name__}). Check EMBEDDING_MODEL; where no hub can be "
                "reached, EMBEDDING_MODEL_PATH names a folder with the model's files."
            ) from error
        self.identity = identity
        self._prefixes = prefixes
        tokenizer = self._model.model.tokenizer
        self.max_tokens = ((tokenizer.truncation or {}).get("max_length") or DEFAULT_MAX_TOKENS) - 2
        # A copy: the one that the model uses cuts off, and this one must see all.
        self._counter = type(tokenizer).from_str(tokenizer.to_str())
        self._counter.no_truncation()
        self._counter.no_padding()

    async def embed_query(self, text: str) -> Vector:
        """Return the question's vector, shape (dimension,)."""
        matrix = await asyncio.to_thread(self._embed, [self._prefixes.query + text], query=True)
        vector: Vector = matrix[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """Return shape (len(texts), dimension), in order."""
        prepared = [self._prefixes.document + text for text in texts]
        return await asyncio.to_thread(self._embed, prepared, query=False)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character ranges of the text's tokens."""
        offsets: list[tuple[int, int]] = self._counter.encode(text, add_special_tokens=False).offsets
        return offsets

    async def close(self) -> None:
        """Nothing but memory is held."""

    def _embed(self, texts: list[str], *, query: bool) -> Matrix:
        vectors = self._model.query_embed(texts) if query else self._model.embed(texts, batch_size=BATCH_SIZE)
        rows = list(vectors)
        matrix = np.asarray(rows, dtype=np.float32).reshape(len(rows), self.identity.dimension)
        unit: Matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        return unit


def dimension_of(model: str) -> int:
    """The model's dimension. Raises ConfigurationError when fastembed is missing or doesn't know it."""
    known = {entry["model"].lower(): int(entry["dim"]) for entry in _package().TextEmbedding.list_supported_models()}
    if model.lower() not in known:
        raise ConfigurationError(f"fastembed has no model {model!r}; EMBEDDING_MODEL is one of: {', '.join(known)}.")
    return known[model.lower()]


def _package() -> Any:
    if importlib.util.find_spec("fastembed") is None:
        raise ConfigurationError(f"EMBEDDING_PROVIDER is fastembed, and that package is missing. {INSTALL}")
    import fastembed

    return fastembed
