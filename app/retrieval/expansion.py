"""A passage and its neighbours as one text."""

from __future__ import annotations

from collections.abc import Sequence

# A shorter common part of two neighbours may be chance; a chunk repeats at most some sentences of the one before it.
MIN_OVERLAP, MAX_OVERLAP = 12, 1000


def joined(texts: Sequence[str]) -> str:
    """Neighbouring chunks, in order, as one text: what a chunk repeats of the one before it is said once."""
    whole = ""
    for text in texts:
        if not whole:
            whole = text
            continue
        repeated = _overlap(whole, text)
        whole += text[repeated:] if repeated else f"\n{text}"
    return whole


def _overlap(before: str, after: str) -> int:
    """The length of the longest end of ``before`` that ``after`` begins with."""
    longest = min(len(before), len(after), MAX_OVERLAP)
    return next((size for size in range(longest, MIN_OVERLAP - 1, -1) if before.endswith(after[:size])), 0)
