"""Follow-up questions made standalone, with a model and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.sentences import stems
from app.answer.standalone import Exchange, carried_over, standalone
from app.errors import ProviderError
from app.providers.protocols import AnswerDelta, AnswerRequest, Completion, Instruction, Usage

BERTH = "How much does a berth cost a night?"
HISTORY = [Exchange(BERTH, "A berth costs 34 euros a night [1].")]


class Writer:
    """An answerer whose model writes what the test says."""

    name = model = "writer"

    def __init__(self, written: str | ProviderError | None) -> None:
        self.written = written
        self.asked: list[Instruction] = []

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        yield AnswerDelta("")

    async def complete(self, instruction: Instruction) -> Completion | None:
        self.asked.append(instruction)
        if isinstance(self.written, ProviderError):
            raise self.written
        return None if self.written is None else Completion(self.written, Usage(30, 9))

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("And for longer boats?", "berth cost night"),
        ("What does it include?", "berth cost night"),
        ("Why?", "berth cost night"),
        ("How about two nights?", "berth cost"),
        ("What about that?", "berth cost night"),
        ("Und für längere Boote?", "berth cost night"),
    ],
)
def test_a_question_that_leans_carries_the_words_of_the_one_before(question: str, words: str) -> None:
    carried = carried_over(question, BERTH)
    assert carried.startswith(question)
    assert set(stems(words)) <= set(stems(carried))


@pytest.mark.parametrize(
    "question",
    [
        "When does the harbour office open?",
        "Which boats that exceed twelve metres may moor?",
        "Wer hat den Hafen gebaut?",
    ],
)
def test_a_question_that_stands_alone_is_left_alone(question: str) -> None:
    assert carried_over(question, BERTH) == question


@given(st.text(max_size=200), st.text(max_size=2000))
def test_what_is_carried_stays_small_and_loses_nothing(question: str, before: str) -> None:
    carried = carried_over(question, before)
    assert carried.startswith(question)
    assert len(carried.removeprefix(question).split()) <= 12


async def test_a_model_rewrites_with_the_conversation_as_data() -> None:
    writer = Writer('"How much does a berth cost for longer boats?"\nBecause the user asked so.')
    found = await standalone("And for longer boats?", HISTORY, writer, nonce=lambda: "n0nce")
    assert found.text == "How much does a berth cost for longer boats?"
    assert found.usage == Usage(30, 9)
    (instruction,) = writer.asked
    assert "n0nce" in instruction.system
    assert f"<question n0nce>\n{BERTH}\n</question n0nce>" in instruction.user
    assert instruction.user.endswith("Next question: And for longer boats?")


@pytest.mark.parametrize("written", [None, "", "  \n", "x" * 5000, ProviderError("writer", "away")])
async def test_without_a_usable_model_the_words_are_carried_over(written: str | ProviderError | None) -> None:
    found = await standalone("And for longer boats?", HISTORY, Writer(written))
    assert found.text == carried_over("And for longer boats?", BERTH)


async def test_the_first_question_asks_no_model() -> None:
    writer = Writer("something else")
    assert (await standalone("And now?", [], writer)).text == "And now?"
    assert writer.asked == []
