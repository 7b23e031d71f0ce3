"""The extractive provider: the right sentence, word for word, cited, in no time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.citations import MARKER, cite
from app.answer.sentences import split_sentences
from app.providers.extractive import ExtractiveAnswerer, select
from app.providers.protocols import AnswerRequest, SourcePassage, Usage
from tests.unit.providers.conftest import HARBOUR, WEATHER, collect

LIGHTHOUSE = SourcePassage(
    1,
    "Lighthouse",
    "The lighthouse stands on the northern pier. It was built in 1871 by Ada Brown, because ships ran aground there. "
    "The lighthouse has 212 steps. Visitors like the lighthouse.",
    0.9,
)
BREAKWATER = SourcePassage(2, "Breakwater", "The breakwater is older than the lighthouse.", 0.8)


@pytest.mark.parametrize(
    ("question", "quoted"),
    [
        ("How many steps has the lighthouse?", "The lighthouse has 212 steps. [1]"),
        ("When was the lighthouse built?", "It was built in 1871"),
        ("Where does the lighthouse stand?", "The lighthouse stands on the northern pier. [1]"),
        ("Which breakwaters are old?", "The breakwater is older than the lighthouse. [2]"),
        ("Why was it built?", "because ships ran aground there. [1]"),
    ],
)
async def test_the_first_sentence_answers(question: str, quoted: str) -> None:
    pieces, usage = await collect(ExtractiveAnswerer(), AnswerRequest(question, [LIGHTHOUSE, BREAKWATER]))
    assert quoted in pieces[0]
    assert usage == Usage()


@pytest.mark.parametrize(("question", "quoted"), [("How many steps?", "212 steps"), ("many steps", "How many steps?")])
def test_a_question_is_not_answered_by_itself_but_words_are_looked_for(question: str, quoted: str) -> None:
    passage = SourcePassage(1, "Often asked", "How many steps? It has 212 steps.", 0.9)
    assert quoted in select(question, [passage])[0].text


async def test_it_streams_sentence_by_sentence_and_never_more_than_three() -> None:
    text = " ".join(
        f"Ship number {n} carries {name}." for n, name in enumerate(["tea", "coal", "wine", "salt", "rope"])
    )
    pieces, _ = await collect(ExtractiveAnswerer(), AnswerRequest("Which ship?", [SourcePassage(3, "Ships", text, 1)]))
    assert len(pieces) == 4
    assert all(piece.rstrip().endswith("[3]") for piece in pieces[:3])


async def test_without_passages_nothing_is_said() -> None:
    assert await collect(ExtractiveAnswerer(), AnswerRequest("Who?", [])) == ([""], Usage())


def test_the_cue_of_the_question_decides_between_equals() -> None:
    text = "The ferry to Hull leaves daily. The ferry to Hull leaves at 9:30."
    chosen = select("When does the ferry to Hull leave?", [SourcePassage(1, "", text, 1.0)])
    assert chosen[0].text == "The ferry to Hull leaves at 9:30."


def test_the_better_ranked_passage_goes_first_among_equals() -> None:
    passages = [SourcePassage(1, "", "Tides turn twice a day.", 0.0328), SourcePassage(2, "", "Tides turn.", 0.0327)]
    assert select("When do tides turn?", passages)[0].passage.number == 1


def test_the_same_sentence_is_not_quoted_twice() -> None:
    passages = [HARBOUR, SourcePassage(2, "Copy", HARBOUR.text, 0.9)]
    texts = [quotation.text for quotation in select("What does a berth cost?", passages)]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("The harbour name is argv[1] here.", "The harbour name is `argv[1]` here. [2]"),
        ("The harbour grew.[12] It did.", "The harbour grew. [2]"),
        ("- The harbour is deep", "The harbour is deep [2]"),
    ],
)
async def test_nothing_quoted_poses_as_our_citation(text: str, quoted: str) -> None:
    request = AnswerRequest("What of the harbour?", [SourcePassage(2, "", text, 1.0)])
    pieces, _ = await collect(ExtractiveAnswerer(), request)
    assert pieces[0] == quoted
    checked, citations = cite(pieces[0], request.passages)
    assert checked == quoted
    assert [citation.number for citation in citations] == [2]


WORDS = st.lists(st.sampled_from("the harbour opens at nine. Storms, 3.5 metres! (see below) “Berth” no".split()))


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=4), WORDS.map(" ".join))
async def test_every_quote_stands_in_its_passage(texts: list[str], question: str) -> None:
    passages = [SourcePassage(number, "", text, 1.0) for number, text in enumerate(texts, start=1)]
    pieces, _ = await collect(ExtractiveAnswerer(), AnswerRequest(question, passages))
    for piece in pieces[:-1]:
        marker = MARKER.search(piece)
        assert marker is not None
        assert piece[: marker.start()].strip() in split_sentences(texts[int(marker.group(1)) - 1])


async def test_five_passages_of_200_words_take_at_most_5_ms() -> None:
    sentence = "On day {n} the harbour master wrote the heights of {n} tides and the names of ships into book {m}."
    passages = [
        SourcePassage(number, "Log", " ".join(sentence.format(n=number * n, m=n) for n in range(1, 12)), 1 / number)
        for number in range(1, 6)
    ]
    request = AnswerRequest("Which ships did the harbour master write into book 7?", passages)
    spent = []
    for _ in range(15):
        start = time.process_time()
        await collect(ExtractiveAnswerer(), request)
        spent.append(time.process_time() - start)
    assert sorted(spent)[len(spent) // 2] < 0.005


async def test_the_answers_of_both_passages_are_cited() -> None:
    pieces, _ = await collect(
        ExtractiveAnswerer(),
        AnswerRequest("When does the office open and when does the pier close?", [HARBOUR, WEATHER]),
    )
    _, citations = cite("".join(pieces), [HARBOUR, WEATHER])
    assert {citation.number for citation in citations} == {1, 2}
