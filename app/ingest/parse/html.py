"""HTML, and Markdown by way of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.ingest.parse.blocks import Block, Parsed, squeeze

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_HEADINGS = 6
# What stands around a page's text; the last two are DocBook's.
_FURNITURE = "body > header, body > footer, [role=navigation], .navheader, .navfooter"


def parse_markdown(text: str) -> Parsed:
    """CommonMark with tables, by way of HTML: what HTML keeps, Markdown keeps."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    return parse_html(renderer.render(_without_front_matter(text)))


def parse_html(text: str) -> Parsed:
    """HTML: navigation, scripts and styles are left out; headings, lists, tables and code are kept."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    tree.strip_tags(["script", "style", "noscript", "template", "nav", "svg", "form", "iframe"])
    for node in tree.css(_FURNITURE):
        node.decompose()
    title_node = tree.css_first("title")
    title = squeeze(title_node.text()) if title_node is not None else ""
    root = tree.css_first("main") or tree.css_first("article") or tree.body
    blocks = list(_walk(root)) if root is not None else []
    first = next((block.heading_path[0] for block in blocks if block.heading_path), "")
    return Parsed(title or first or None, blocks)


def _walk(root: LexborNode) -> Iterator[Block]:
    path: list[str] = []
    for kind, text in _pieces(root):
        if kind and not text:
            continue
        if kind:
            path = [*path[: kind - 1], *[""] * (kind - 1 - len(path)), text]
        elif text:
            yield Block(text, tuple(heading for heading in path if heading))


def _pieces(root: LexborNode) -> Iterator[tuple[int, str]]:
    """Headings as (level, text) and blocks as (0, text), in order, without recursion; None ends an element."""
    inline: list[str] = []
    stack: list[LexborNode | None] = [root.child] if root.child is not None else []
    while stack:
        node = stack.pop()
        if node is None:
            yield from _flushed(inline)
            continue
        if node.next is not None:
            stack.append(node.next)
        tag = node.tag or ""
        if tag in _WHOLE:
            yield from _flushed(inline)
            yield _WHOLE[tag], _whole_text(node, tag)
        elif tag == "-text":
            inline.append(node.text(deep=False))
        elif tag == "br":
            inline.append("\n")
        elif tag in _INLINE:
            inline.append(node.text(deep=True))
        elif node.child is not None:
            yield from _flushed(inline)
            stack += [None, node.child]
    yield from _flushed(inline)


# Elements taken as one piece, with their heading level or 0.
_WHOLE = {**{f"h{level}": level for level in range(1, MAX_HEADINGS + 1)}, "table": 0, "pre": 0}
_INLINE = frozenset(
    (
        "a abbr b bdi bdo cite code data dfn em font i ins kbd label mark q s samp small span strong sub sup "
        "time tt u var "
    ).split()
)


def _flushed(inline: list[str]) -> Iterator[tuple[int, str]]:
    text = squeeze("".join(inline))
    inline.clear()
    if text:
        yield 0, text


def _whole_text(node: LexborNode, tag: str) -> str:
    if tag == "table":
        rows = (
            " | ".join(squeeze(cell.text(deep=True, separator=" ")) for cell in row.css("th, td"))
            for row in node.css("tr")
        )
        return "\n".join(row for row in rows if row.strip(" |"))
    if tag == "pre":
        return node.text(deep=True).strip("\n")
    return squeeze(node.text(deep=True))


def _without_front_matter(text: str) -> str:
    if text.startswith("---\n"):
        end = text.find("\n---\n", 4)
        if end != -1:
            return text[end + 5 :]
    return text
