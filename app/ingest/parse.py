"""Documents to blocks: text with the headings above it and, where there are pages, its page.

Runs in a process of its own with limits (``sandbox.py``); imports are inside so that the process starts fast.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import DocumentError, ErrorCode
from app.ingest.media import HTML, MARKDOWN, PDF, decode

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_HEADINGS = 6
# What stands around a page's text; the last two are DocBook's.
_FURNITURE = "body > header, body > footer, [role=navigation], .navheader, .navfooter"


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table or piece of code."""

    text: str
    heading_path: tuple[str, ...] = ()
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document's own title, if it has one, and its blocks in reading order."""

    title: str | None
    blocks: list[Block]


def parse(content: bytes, media_type: str, charset: str | None = None) -> Parsed:
    """Read a document.

    Raises:
        DocumentError: it has no text, or can't be read.
    """
    if media_type == PDF:
        parsed = _parse_pdf(content)
    else:
        text = decode(content, media_type, charset)
        parsed = {HTML: parse_html, MARKDOWN: parse_markdown}.get(media_type, parse_text)(text)
    if not parsed.blocks:
        raise DocumentError(
            ErrorCode.DOCUMENT_EMPTY,
            "The document holds no text. A scanned PDF needs text recognition (OCR) first."
            if media_type == PDF
            else "The document holds no text.",
        )
    return parsed


def parse_text(text: str) -> Parsed:
    """Plain text: paragraphs are parted by blank lines."""
    return Parsed(None, [Block(part) for part in _paragraphs(text)])


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
    title = _squeeze(title_node.text()) if title_node is not None else ""
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
    text = _squeeze("".join(inline))
    inline.clear()
    if text:
        yield 0, text


def _whole_text(node: LexborNode, tag: str) -> str:
    if tag == "table":
        rows = (
            " | ".join(_squeeze(cell.text(deep=True, separator=" ")) for cell in row.css("th, td"))
            for row in node.css("tr")
        )
        return "\n".join(row for row in rows if row.strip(" |"))
    if tag == "pre":
        return node.text(deep=True).strip("\n")
    return _squeeze(node.text(deep=True))


def check_pdf(content: bytes) -> None:
    """Open a PDF as far as its first page, to refuse at the door what can't be read.

    Raises:
        DocumentError: ``document_unreadable``, with the cause.
    """
    next(iter(_pdf_pages(content)), None)


def _parse_pdf(content: bytes) -> Parsed:
    blocks = [
        Block(part, (), number) for number, text in _pdf_pages(content) for part in _paragraphs(_joined_lines(text))
    ]
    return Parsed(None, blocks)


def _pdf_pages(content: bytes) -> Iterable[tuple[int, str]]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError(
                ErrorCode.DOCUMENT_UNREADABLE, "The PDF is protected by a password. Save a copy without one."
            )
        for number, page in enumerate(reader.pages, start=1):
            yield number, _storable(page.extract_text())
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE, f"The PDF is damaged ({type(error).__name__}). Is the file complete?"
        ) from error


def _storable(text: str) -> str:
    """Fonts may map glyphs to NUL or to half of a surrogate pair, which no database takes as text."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()


def _joined_lines(text: str) -> str:
    """Undo the line breaks of a page's layout: a line that doesn't end a sentence goes on in the next."""
    text = re.sub(r"(\w)-\n(?=[a-z])", r"\1", text)
    return re.sub(r"(?<![.!?:\n])\n(?!\n)", " ", text)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _without_front_matter(text: str) -> str:
    if text.startswith("---\n"):
        end = text.find("\n---\n", 4)
        if end != -1:
            return text[end + 5 :]
    return text
