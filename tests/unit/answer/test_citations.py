"""A citation that stands in an answer points to a passage that supports its sentence."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.citations import MARKER, cite
from app.providers.protocols import SourcePassage

PASSAGES = [
    SourcePassage(1, "Harbour", "The office opens at nine. A berth costs 34 euros a night.", 0.9),
    SourcePassage(2, "Weather", "Storms are frequent in autumn.", 0.5),
]


def test_a_supported_marker_is_kept_with_the_sentence_that_supports_it() -> None:
    text, citations = cite("A berth costs 34 euros [1].", PASSAGES)
    assert text == "A berth costs 34 euros [1]."
    assert [(c.number, c.snippet) for c in citations] == [(1, "A berth costs 34 euros a night.")]


@pytest.mark.parametrize(
    "answer", ["A berth costs 34 euros [7].", "A berth costs 34 euros [2].", "A berth costs 34 euros [0, 9]."]
)
def test_a_marker_that_does_not_hold_is_dropped(answer: str) -> None:
    assert cite(answer, PASSAGES) == ("A berth costs 34 euros.", [])


def test_of_a_list_of_markers_only_those_that_hold_stay() -> None:
    text, citations = cite("Storms are frequent in autumn [1, 2].", PASSAGES)
    assert text == "Storms are frequent in autumn [2]."
    assert [c.number for c in citations] == [2]


@pytest.mark.parametrize(
    ("answer", "cited"),
    [
        ("According to [1], a berth costs 34 euros.", [1]),
        ("[1] A berth costs 34 euros.", [1]),
        ("A berth costs 34 euros. [1] Storms are frequent. [2]", [1, 2]),
        ("A berth costs 34 euros.[1][2]", [1]),
        ("- A berth costs 34 euros [1]\n- Storms are frequent in autumn [2]", [1, 2]),
        ("Storms are frequent in autumn [ 2 ; 2 ].", [2]),
        ("Storms are frequent in autumn.\n[2]", [2]),
        ("I don't know [1].", []),
        ("[1]", []),
    ],
)
def test_a_marker_speaks_of_the_sentence_it_stands_in_or_behind(answer: str, cited: list[int]) -> None:
    assert [c.number for c in cite(answer, PASSAGES)[1]] == cited


def test_passages_may_be_numbered_in_any_way() -> None:
    renumbered = [SourcePassage(7, PASSAGES[1].title, PASSAGES[1].text, 1), SourcePassage(4, "", PASSAGES[0].text, 1)]
    _, citations = cite("A berth costs 34 euros [4]. Storms are frequent [7].", renumbered)
    assert [(c.number, c.index, c.sentence) for c in citations] == [
        (4, 1, "A berth costs 34 euros."),
        (7, 0, "Storms are frequent."),
    ]


def test_code_is_no_citation() -> None:
    answer = "A berth is `argv[1]`, `x[9]`, 34 euros a night [1] [9]."
    text, citations = cite(answer, PASSAGES)
    assert text == "A berth is `argv[1]`, `x[9]`, 34 euros a night [1]."
    assert [c.sentence for c in citations] == ["A berth is `argv[1]`, `x[9]`, 34 euros a night."]


@given(st.text(alphabet="abc .[]0123,;\n", max_size=200))
def test_whatever_a_model_writes_only_known_passages_are_cited(answer: str) -> None:
    text, citations = cite(answer, PASSAGES)
    marked = {int(n) for group in MARKER.findall(text) for n in group.replace(";", ",").split(",")}
    assert marked == {c.number for c in citations}
    assert marked <= {1, 2}


@pytest.mark.parametrize("piece", ["[1", "[1]", "[1, ", "`", "A berth costs 34 euros [1] ", ".[1]"])
def test_a_model_that_never_stops_takes_no_time(piece: str) -> None:
    """Eight times the answer takes some eight times as long, not sixty-four."""

    def once(length: int) -> float:
        start = time.process_time()
        cite(piece * (length // len(piece)), PASSAGES)
        return time.process_time() - start

    def seconds(length: int) -> float:
        # The least of some: now and then the collector of garbage has its turn.
        return min(once(length) for _ in range(4))

    assert seconds(16_000) < 24 * max(seconds(2_000), 0.001)
