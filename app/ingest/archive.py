"""A zip of documents: each entry becomes one, known as ``archive.zip/path``.

Nothing is written to disk and no archive within an archive is opened. An entry's declared size bounds what is read of
it (``zipfile`` stops there), so what is refused by declared sizes can't come in by larger real ones.
"""

from __future__ import annotations

import io
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from app.errors import AnchorageError, DocumentError, ErrorCode, PayloadTooLargeError, UnsupportedMediaTypeError
from app.ingest.accept import Upload, too_large
from app.ingest.media import says_nothing

TYPES = frozenset({"application/zip", "application/x-zip-compressed", "application/x-zip"})
# Text deflates to a tenth, a log of equal lines to a hundredth; a bomb to a thousandth.
MAX_RATIO = 200
RATIO_COUNTS_FROM = 1024 * 1024
_ENCRYPTED = 0x1
_TRICK = re.compile(r"^/|^[A-Za-z]:|\\|[\x00-\x1f\x7f]|(^|/)\.{0,2}(/|$)")
_LEFT_OUT = re.compile(r"(^|/)(__MACOSX/|\.(?!\.?(/|$)))")
_ENTRY = b"PK\x01\x02"
# Packages among the documents (a .docx is one) have entries of their own.
_ENTRIES_A_FILE = 50


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How many documents, how large one, how large all together, in bytes as they are when unpacked."""

    max_files: int
    max_file_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that is no document, and why."""

    source: str
    error: AnchorageError


def is_archive(upload: Upload) -> bool:
    """Whether it was declared as a zip, or named so where nothing was declared."""
    essence = (upload.declared_type or "").split(";")[0].strip().lower()
    return essence in TYPES or (says_nothing(essence) and upload.source.lower().endswith(".zip"))


def unpack(upload: Upload, limits: ArchiveLimits) -> Iterator[Upload | Refused]:
    """The documents of an archive, one at a time, in its order; hidden files and folders are left out.

    Raises:
        DocumentError: it is no zip, or holds no file. PayloadTooLargeError: it holds more than the limits.
    """
    # Before they are all made into objects.
    if upload.content.count(_ENTRY) > limits.max_files * _ENTRIES_A_FILE:
        raise _too_many(limits)
    try:
        archive = ZipFile(io.BytesIO(upload.content))
    except (BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DocumentError(ErrorCode.DOCUMENT_UNREADABLE, f"The file is no whole zip archive ({error}).") from error
    # Not is_dir(), which fails for an entry without a name.
    files = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    entries = [entry for entry in files if not _LEFT_OUT.search(_name(entry))]
    _check(entries, limits, len(upload.content))
    return (_document(archive, entry, upload, limits) for entry in entries)


def _check(entries: list[ZipInfo], limits: ArchiveLimits, packed: int) -> None:
    if not entries:
        raise DocumentError(ErrorCode.DOCUMENT_EMPTY, "The archive holds no files.")
    if len(entries) > limits.max_files:
        raise _too_many(limits)
    size = sum(entry.file_size for entry in entries)
    if size > limits.max_bytes:
        raise PayloadTooLargeError(
            f"The archive's files are larger than {limits.max_bytes >> 20} MiB together. Split it."
        )
    if size > RATIO_COUNTS_FROM and size > packed * MAX_RATIO:
        raise PayloadTooLargeError(f"The archive unpacks to more than {MAX_RATIO} times its size. Pack the files anew.")


def _too_many(limits: ArchiveLimits) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The archive holds more than {limits.max_files} files. Split it.")


def _document(archive: ZipFile, entry: ZipInfo, upload: Upload, limits: ArchiveLimits) -> Upload | Refused:
    name = _name(entry)
    source = f"{upload.source}/{_printable(name)}"[:2000]
    try:
        _refuse(entry, name, limits)
        content = archive.read(entry)
    except AnchorageError as error:
        return Refused(source, error)
    except (BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return Refused(source, DocumentError(ErrorCode.DOCUMENT_UNREADABLE, f"The entry is damaged ({error})."))
    return Upload(content, source, None, None, upload.collection, upload.attributes)


def _refuse(entry: ZipInfo, name: str, limits: ArchiveLimits) -> None:
    if _TRICK.search(name) or stat.S_ISLNK(entry.external_attr >> 16):
        raise DocumentError(ErrorCode.DOCUMENT_UNREADABLE, "The entry's path leads out of the archive, or is a link.")
    if not name:
        raise DocumentError(ErrorCode.DOCUMENT_UNREADABLE, "The entry has no name.")
    if entry.flag_bits & _ENCRYPTED:
        raise DocumentError(ErrorCode.DOCUMENT_UNREADABLE, "The entry is encrypted. Pack it without a password.")
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise UnsupportedMediaTypeError("The entry is packed by another method than deflate.")
    if name.lower().endswith(".zip"):
        raise UnsupportedMediaTypeError("The entry is an archive itself. Send it by itself.")
    if entry.file_size > limits.max_file_bytes:
        raise too_large(limits.max_file_bytes)


def _name(entry: ZipInfo) -> str:
    # ``filename`` has been made fit for a disk already; what was really written is what is judged.
    return entry.orig_filename


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in name)
