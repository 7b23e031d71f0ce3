"""How often the service abstains where it should and where it should not, by threshold of the best passage's cosine.

Questions of xquad-en over its own paragraphs can be answered; those of cranfield over the same paragraphs can't.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from app.providers.embedding import BundledEmbedder

THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


async def main(data: Path) -> None:
    """Print both rates for each threshold."""
    embedder = BundledEmbedder()
    corpus = await embedder.embed_documents([row["text"] for row in _rows(data / "xquad-en/corpus.jsonl")])
    answerable = await _best(embedder, corpus, data / "xquad-en/queries.jsonl")
    foreign = await _best(embedder, corpus, data / "cranfield/queries.jsonl")
    print("abstention (threshold: answerable refused, unanswerable refused)")  # noqa: T201
    for threshold in THRESHOLDS:
        print(f"  {threshold:.2f}: {(answerable < threshold).mean():6.1%} {(foreign < threshold).mean():6.1%}")  # noqa: T201


async def _best(embedder: BundledEmbedder, corpus: np.ndarray, queries: Path) -> np.ndarray:
    questions = np.stack([await embedder.embed_query(row["text"]) for row in _rows(queries)])
    best: np.ndarray = (questions @ corpus.T).max(axis=1)
    return best


def _rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
