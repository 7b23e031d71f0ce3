"""A zip of documents: what comes out of it, and what is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AnchorageError, DocumentError, PayloadTooLargeError
from app.ingest.accept import Upload
from app.ingest.archive import ArchiveLimits, Refused, is_archive, unpack

LIMITS = ArchiveLimits(max_files=10, max_file_bytes=5 * 2**20, max_bytes=8 * 2**20)


def packed(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpacked(content: bytes, limits: ArchiveLimits = LIMITS) -> list[Upload | Refused]:
    return list(unpack(Upload(content, "set.zip", collection="c", attributes={"a": 1}), limits))


def test_each_file_becomes_a_document_of_its_own() -> None:
    found = unpacked(packed({"a.md": b"# A", "deep/er/b.txt": b"B", "deep/": b""}))
    assert found == [
        Upload(b"# A", "set.zip/a.md", collection="c", attributes={"a": 1}),
        Upload(b"B", "set.zip/deep/er/b.txt", collection="c", attributes={"a": 1}),
    ]


def test_what_systems_put_beside_documents_is_left_out() -> None:
    beside = {"__MACOSX/._a.md": b"x", ".DS_Store": b"x", "d/.git/config": b"x", "d/__MACOSX/b": b"x"}
    assert [item.source for item in unpacked(packed({"a.md": b"A", **beside}))] == ["set.zip/a.md"]


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up.md", "a/../../up.md", "a/..", "./a.md", "a//b.md", "C:evil.md", "a\\b.md", "a\x01b.md"],
)
def test_paths_that_play_tricks_are_refused(name: str) -> None:
    content = packed({"x" * len(name): b"text", "good.md": b"good"}).replace(b"x" * len(name), name.encode())
    bad, good = unpacked(content)
    assert isinstance(bad, Refused)
    assert isinstance(good, Upload)
    assert bad.source.isprintable()


def test_links_archives_and_other_methods_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", packed({"a.md": b"A"}))
        archive.writestr("lzma.md", b"text", zipfile.ZIP_LZMA)
    assert [type(item) for item in unpacked(buffer.getvalue())] == [Refused] * 3


def test_encrypted_entries_are_refused() -> None:
    content = bytearray(packed({"a.md": b"secret"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (item,) = unpacked(bytes(content))
    assert isinstance(item, Refused)
    assert "encrypted" in item.error.detail


def test_a_damaged_entry_is_refused_and_the_others_are_not() -> None:
    content = packed({"a.md": b"first text", "b.md": b"other text"}, zipfile.ZIP_STORED)
    first, second = unpacked(content.replace(b"first text", b"f1rst text"))
    assert isinstance(first, Refused)
    assert isinstance(second, Upload)


@pytest.mark.parametrize("claimed", [1, 2**31])
def test_a_size_that_is_not_the_declared_one_gains_nothing(claimed: int) -> None:
    content = bytearray(packed({"a.md": b"x" * 1000}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(signature) + offset, claimed)
    try:
        (item,) = unpacked(bytes(content))
    except PayloadTooLargeError:
        return
    assert isinstance(item, Refused)


@pytest.mark.parametrize(
    ("entries", "limits", "error"),
    [
        ({}, LIMITS, DocumentError),
        ({f"{n}.md": b"x" for n in range(11)}, LIMITS, PayloadTooLargeError),
        ({f"{n}.md": bytes(range(256)) * 2**13 for n in range(5)}, LIMITS, PayloadTooLargeError),
        ({"bomb.txt": b"0" * 4 * 2**20}, LIMITS, PayloadTooLargeError),
    ],
)
def test_an_archive_over_the_limits_is_refused_whole(
    entries: dict[str, bytes], limits: ArchiveLimits, error: type[AnchorageError]
) -> None:
    with pytest.raises(error):
        unpacked(packed(entries), limits)


def test_a_file_over_its_own_limit_is_refused_by_itself() -> None:
    limits = ArchiveLimits(10, 100, 10_000)
    large, small = unpacked(packed({"large.txt": b"x" * 101, "small.txt": b"x" * 100}), limits)
    assert isinstance(large, Refused)
    assert isinstance(small, Upload)


@given(st.binary(max_size=300), st.integers(0, 500), st.binary(min_size=1, max_size=8))
def test_no_bytes_do_anything_but_come_out_or_be_refused(noise: bytes, at: int, patch: bytes) -> None:
    whole = packed({"a.md": b"some text", "b/c.txt": b"more"})
    for content in (noise, b"PK\x03\x04" + noise, whole[:at] + patch + whole[at + len(patch) :]):
        try:
            unpacked(content)
        except (DocumentError, PayloadTooLargeError):
            continue


@pytest.mark.parametrize(
    ("declared", "name", "archive"),
    [
        ("application/zip", "x", True),
        ("application/x-zip-compressed", "x.bin", True),
        ("application/octet-stream", "Set.ZIP", True),
        (None, "set.zip", True),
        ("text/plain", "set.zip", False),
        ("application/octet-stream", "book.docx", False),
    ],
)
def test_what_is_an_archive(declared: str | None, name: str, archive: bool) -> None:
    assert is_archive(Upload(b"", name, declared)) is archive
