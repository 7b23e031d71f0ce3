"""PDF."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from app.errors import DocumentError, ErrorCode
from app.ingest.parse.blocks import Block, Parsed, paragraphs, storable


def check_pdf(content: bytes) -> None:
    """Open a PDF as far as its first page, to refuse at the door what can't be read.

    Raises:
        DocumentError: ``document_unreadable``, with the cause.
    """
    next(iter(_pdf_pages(content)), None)


def parse_pdf(content: bytes) -> Parsed:
    """PDF with a text layer, page by page."""
    blocks = [
        Block(part, (), number) for number, text in _pdf_pages(content) for part in paragraphs(_joined_lines(text))
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
            yield number, storable(page.extract_text())
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE, f"The PDF is damaged ({type(error).__name__}). Is the file complete?"
        ) from error


def _joined_lines(text: str) -> str:
    """Undo the line breaks of a page's layout: a line that doesn't end a sentence goes on in the next."""
    text = re.sub(r"(\w)-\n(?=[a-z])", r"\1", text)
    return re.sub(r"(?<![.!?:\n])\n(?!\n)", " ", text)
