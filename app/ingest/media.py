"""Which kind of document the bytes are: what was declared must agree with what is there."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from app.errors import DocumentError, ErrorCode, UnsupportedMediaTypeError

TEXT, MARKDOWN, HTML, PDF = "text/plain", "text/markdown", "text/html", "application/pdf"
SUPPORTED = (TEXT, MARKDOWN, HTML, PDF)
_BY_SUFFIX = {
    ".txt": TEXT,
    ".text": TEXT,
    ".log": TEXT,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".pdf": PDF,
}
_ALIASES = {"application/xhtml+xml": HTML, "text/x-markdown": MARKDOWN, "application/x-pdf": PDF}
# What a client sends when it doesn't know.
_UNKNOWN = {"", "application/octet-stream", "binary/octet-stream"}
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_SIGNATURES = {b"%PDF-": "PDF", b"PK\x03\x04": "ZIP", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF"}


def media_type_of(declared: str | None, name: str, content: bytes) -> str:
    """One of ``SUPPORTED``, from the declared type or, where that says nothing, from the file's name.

    Raises:
        UnsupportedMediaTypeError: no parser takes it, or the bytes are something else than declared.
    """
    essence = (declared or "").split(";")[0].strip().lower()
    media_type = _ALIASES.get(essence, essence)
    if media_type in _UNKNOWN:
        suffix = PurePosixPath(name).suffix.lower()
        media_type = _BY_SUFFIX.get(suffix, PDF if content.startswith(b"%PDF-") else suffix or "unknown")
    if media_type not in SUPPORTED:
        raise UnsupportedMediaTypeError(
            f"Documents of type {media_type[:80]} can't be read. Send one of: {', '.join(SUPPORTED)}."
        )
    _refuse_contradiction(media_type, content)
    return media_type


def _refuse_contradiction(media_type: str, content: bytes) -> None:
    found = next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), None)
    if media_type == PDF:
        # Readers tolerate some bytes before the header, so the first KiB is searched as they do.
        if b"%PDF-" not in content[:1024]:
            raise DocumentError(
                ErrorCode.DOCUMENT_UNREADABLE, "The file is declared as PDF but has no PDF header. Is it complete?"
            )
    elif found is not None:
        raise UnsupportedMediaTypeError(f"The file is declared as {media_type} but its bytes are {found}.")


def charset_of(declared: str | None) -> str | None:
    """The ``charset`` parameter of a content type, if it names one that Python knows."""
    match = re.search(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]{2,40})", declared or "", re.IGNORECASE)
    return _known(match.group(1)) if match else None


def decode(content: bytes, media_type: str, charset: str | None = None) -> str:
    """Bytes to text: the declared character set, else a byte order mark, HTML's own, or UTF-8.

    Raises:
        DocumentError: ``document_not_utf8``; it names the offset of the first wrong byte.
    """
    encoding = charset or _marked(content)
    if encoding is None and media_type == HTML:
        match = _CHARSET.search(content[:4096])
        encoding = _known(match.group(1).decode("ascii")) if match else None
    encoding = encoding or "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DocumentError(
            ErrorCode.DOCUMENT_NOT_UTF8,
            f"The text is not valid {encoding.removesuffix('-sig').upper()}: byte {error.start} can't be read. "
            "Save it as UTF-8, or name its character set in the content type.",
        ) from None
    if "\x00" in text:
        raise UnsupportedMediaTypeError("The text contains NUL characters: this is a binary file, not text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _marked(content: bytes) -> str | None:
    if content.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def _known(name: str) -> str | None:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None
