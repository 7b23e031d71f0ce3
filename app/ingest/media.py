"""Which kind of document the bytes are: what was declared must agree with what is there."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import PurePosixPath
from zipfile import BadZipFile, ZipFile

from app.errors import DocumentError, ErrorCode, UnsupportedMediaTypeError

TEXT, MARKDOWN, HTML, PDF = "text/plain", "text/markdown", "text/html", "application/pdf"
CSV, JSON, CODE, EML = "text/csv", "application/json", "text/x-source", "message/rfc822"
EPUB = "application/epub+zip"
_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX = f"{_OFFICE}.wordprocessingml.document"
PPTX = f"{_OFFICE}.presentationml.presentation"
XLSX = f"{_OFFICE}.spreadsheetml.sheet"
# Put into words by a model, where one is configured that sees; each with what its bytes begin with.
IMAGES = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}
SUPPORTED = (TEXT, MARKDOWN, HTML, PDF, DOCX, PPTX, XLSX, EPUB, CSV, JSON, EML, CODE, *IMAGES)
# Those that are text in some character set; the others are bytes to their parsers.
TEXTUAL = frozenset((TEXT, MARKDOWN, HTML, CSV, JSON, CODE))
# Zip archives, each with the entry that says which.
_PACKAGES = {
    DOCX: "word/document.xml",
    PPTX: "ppt/presentation.xml",
    XLSX: "xl/workbook.xml",
    EPUB: "META-INF/container.xml",
}
_SOURCE_SUFFIXES = (
    "py pyi js mjs ts tsx jsx java kt kts scala c h cc cpp cxx hpp cs go rs rb php pl lua r swift sh bash zsh ps1 sql "
    "css scss xml yaml yml toml ini cfg conf tf proto graphql gradle cmake mk j2"
).split()
BY_SUFFIX = {
    **{f".{suffix}": CODE for suffix in _SOURCE_SUFFIXES},
    **{f".{suffix}": TEXT for suffix in ("txt", "text", "log", "rst")},
    **{f".{suffix}": MARKDOWN for suffix in ("md", "markdown")},
    **{f".{suffix}": HTML for suffix in ("html", "htm", "xhtml")},
    **{f".{suffix}": CSV for suffix in ("csv", "tsv")},
    **{f".{suffix}": JSON for suffix in ("json", "jsonl", "ndjson")},
    ".pdf": PDF,
    ".docx": DOCX,
    ".pptx": PPTX,
    ".xlsx": XLSX,
    ".epub": EPUB,
    ".eml": EML,
    **{f".{suffix}": f"image/{suffix}" for suffix in ("png", "jpeg", "gif", "webp")},
    ".jpg": "image/jpeg",
}
_ALIASES = {
    "application/xhtml+xml": HTML,
    "text/x-markdown": MARKDOWN,
    "application/x-pdf": PDF,
    "text/tab-separated-values": CSV,
    "application/jsonl": JSON,
    "application/x-ndjson": JSON,
    **{
        f"{kind}/{name}": CODE
        for kind in ("application", "text")
        for name in ("javascript", "typescript", "x-sh", "x-yaml", "yaml", "toml", "sql", "xml", "css", "x-httpd-php")
    },
}
# What a client sends when it doesn't know; the last two are what systems say of .ts and, with Excel there, of .csv.
_UNKNOWN = {"", "application/octet-stream", "binary/octet-stream", "video/mp2t", "application/vnd.ms-excel"}
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SIGNATURES = {
    b"%PDF-": "PDF",
    b"PK\x03\x04": "ZIP",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    _OLE: "an old or password-protected Office file",
}


def media_type_of(declared: str | None, name: str, content: bytes) -> str:
    """One of ``SUPPORTED``, from the declared type or, where that says nothing, from the file's name.

    Raises:
        UnsupportedMediaTypeError: no parser takes it, or the bytes are something else than declared.
    """
    essence = (declared or "").split(";")[0].strip().lower()
    media_type = _ALIASES.get(essence, CODE if essence.startswith("text/x-") else essence)
    if media_type in _UNKNOWN:
        suffix = PurePosixPath(name).suffix.lower()
        media_type = BY_SUFFIX.get(suffix, PDF if content.startswith(b"%PDF-") else suffix or "unknown")
    if media_type not in SUPPORTED:
        raise UnsupportedMediaTypeError(
            f"Documents of type {media_type[:80]} can't be read. Send one of: {', '.join(SUPPORTED)}."
        )
    _refuse_contradiction(media_type, content)
    return media_type


def says_nothing(declared: str | None) -> bool:
    """Whether a content type leaves open what the document is."""
    return (declared or "").split(";")[0].strip().lower() in _UNKNOWN


def _refuse_contradiction(media_type: str, content: bytes) -> None:
    found = next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), None)
    if media_type == PDF:
        # Readers tolerate some bytes before the header, so the first KiB is searched as they do.
        if b"%PDF-" not in content[:1024]:
            raise DocumentError(
                ErrorCode.DOCUMENT_UNREADABLE, "The file is declared as PDF but has no PDF header. Is it complete?"
            )
    elif media_type in IMAGES:
        if not content.startswith(IMAGES[media_type]):
            raise UnsupportedMediaTypeError(f"The file is declared as {media_type} but its bytes are not.")
    elif media_type in _PACKAGES:
        _refuse_other_package(media_type, content)
    elif found is not None and media_type != EML:
        raise UnsupportedMediaTypeError(f"The file is declared as {media_type} but its bytes are {found}.")


def _refuse_other_package(media_type: str, content: bytes) -> None:
    if content.startswith(_OLE):
        raise DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE,
            "The file is in Office's old format or protected by a password. Save it without one in the present format.",
        )
    try:
        with ZipFile(io.BytesIO(content)) as package:
            names = set(package.namelist())
    except (BadZipFile, ValueError, OSError) as error:
        raise DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE, f"The file is declared as {media_type} but is no whole archive ({error})."
        ) from error
    if _PACKAGES[media_type] not in names:
        raise UnsupportedMediaTypeError(
            f"The file is declared as {media_type} but its archive has no {_PACKAGES[media_type]}."
        )


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
