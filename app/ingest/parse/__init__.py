"""Documents to blocks, whatever their format.

Runs in a process of its own with limits (``reader.py``); each parser imports its library inside, so that the service
itself starts fast.
"""

from __future__ import annotations

from collections.abc import Callable

from app.errors import DocumentError, ErrorCode
from app.ingest.media import CODE, CSV, DOCX, EML, EPUB, HTML, JSON, MARKDOWN, PDF, PPTX, XLSX, decode
from app.ingest.parse.blocks import Block, Parsed, paragraphs
from app.ingest.parse.data import parse_csv, parse_json
from app.ingest.parse.epub import parse_epub
from app.ingest.parse.html import parse_html, parse_markdown
from app.ingest.parse.mail import parse_mail
from app.ingest.parse.office import parse_docx, parse_pptx, parse_xlsx
from app.ingest.parse.pdf import parse_pdf

_OF_BYTES: dict[str, tuple[str, Callable[[bytes], Parsed]]] = {
    PDF: ("PDF", parse_pdf),
    DOCX: ("Word document", parse_docx),
    PPTX: ("presentation", parse_pptx),
    XLSX: ("workbook", parse_xlsx),
    EPUB: ("EPUB", parse_epub),
}
_OF_TEXT: dict[str, Callable[[str], Parsed]] = {
    HTML: parse_html,
    MARKDOWN: parse_markdown,
    CSV: parse_csv,
    JSON: parse_json,
}


def parse(content: bytes, media_type: str, charset: str | None = None) -> Parsed:
    """Read a document.

    Raises:
        DocumentError: it has no text, or can't be read.
    """
    if media_type == EML:
        parsed = parse_mail(content, parse)
    elif media_type in _OF_BYTES:
        parsed = _parse_bytes(content, media_type)
    else:
        parsed = _OF_TEXT.get(media_type, parse_code if media_type == CODE else parse_text)(
            decode(content, media_type, charset)
        )
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
    return Parsed(None, [Block(part) for part in paragraphs(text)])


def parse_code(text: str) -> Parsed:
    """Source code and settings: as it stands, indentation included."""
    return Parsed(None, [Block(text.strip("\n"))] if text.strip() else [])


def _parse_bytes(content: bytes, media_type: str) -> Parsed:
    kind, parser = _OF_BYTES[media_type]
    try:
        return parser(content)
    except (DocumentError, MemoryError):
        raise
    except Exception as error:
        # On a damaged file these libraries raise whatever the damage leads them to.
        raise DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE, f"The {kind} is damaged ({type(error).__name__}). Is the file complete?"
        ) from error


__all__ = ["Block", "Parsed", "parse"]
