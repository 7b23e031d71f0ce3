"""The prompt fits the model, and the best passages are in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.budget import FIXED_TOKENS, FRAME_TOKENS, LEAST_TOKENS, cut, estimate_tokens, fit, size_of
from app.answer.prompt import messages
from app.providers.protocols import AnswerRequest, SourcePassage

WORDS = st.text(alphabet="abc XY.,0 \n中é🙂", max_size=400)
PASSAGES = st.lists(WORDS, max_size=6).map(
    lambda texts: [SourcePassage(n, f"Title {n}", text, 1 / n) for n, text in enumerate(texts, start=1)]
)


@given(PASSAGES, WORDS, st.integers(16, 400), st.integers(256, 1500))
def test_what_is_left_fits_and_is_the_beginning_of_what_was_there(
    passages: list[SourcePassage], question: str, max_tokens: int, context: int
) -> None:
    request = AnswerRequest(question, passages, max_tokens)
    fitting = fit(request, context)
    assert (fitting.question, fitting.max_tokens) == (question, max_tokens)
    if fitting.passages:
        assert size_of(fitting) <= context
    *whole, last = [*zip(fitting.passages, passages, strict=False), (None, None)]
    for position, (kept, given_) in enumerate(whole):
        assert kept is not None
        assert given_ is not None
        assert (kept.number, kept.title) == (given_.number, given_.title)
        assert kept.text == given_.text or (position == len(whole) - 1 and given_.text.startswith(kept.text))
    if size_of(request) <= context:
        assert list(fitting.passages) == passages
    assert last == (None, None)


@given(WORDS, st.integers(0, 200))
def test_a_cut_text_is_a_beginning_of_at_most_so_many_tokens(text: str, tokens: int) -> None:
    head = cut(text, tokens)
    assert text.startswith(head)
    assert estimate_tokens(head) <= tokens or head == text


def test_a_passage_is_cut_between_words_and_a_stump_is_left_out() -> None:
    text = "harbour " * 300
    long = SourcePassage(1, "Log", text, 1.0)
    (kept,) = fit(AnswerRequest("Why?", [long], 64), 600).passages
    assert kept.text.endswith("harbour")
    room = 64 + FIXED_TOKENS + FRAME_TOKENS + LEAST_TOKENS
    assert fit(AnswerRequest("Why?", [long], 64), room).passages == []


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("1871", 5), ("中文", 4), ("a b", 2), ("!?", 2)])
def test_the_estimate_is_rather_too_high(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_the_fixed_part_of_the_prompt_has_its_place() -> None:
    nonce = "0123456789abcdef"
    system, user = messages(AnswerRequest("", [SourcePassage(12, "", "", 1.0)]), nonce)
    assert estimate_tokens(system) <= FIXED_TOKENS - 40
    assert estimate_tokens(user) - estimate_tokens("Question: ") <= FRAME_TOKENS
