"""Hostile files end the child that reads them, not the service."""

from __future__ import annotations

import asyncio
import io
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, EncodedStreamObject, NameObject, StreamObject

from app.errors import DocumentError, ErrorCode
from app.ingest.media import HTML, MARKDOWN, PDF
from app.ingest.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox()
    yield made
    await made.close()


def bomb() -> bytes:
    """A page of some KB that unpacks to 256 MiB."""
    writer = PdfWriter()
    page = writer.add_blank_page(72, 72)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * 2**20) for _ in range(256)) + packer.flush()
    stream: StreamObject = EncodedStreamObject()
    stream._data = packed
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    page[NameObject("/Contents")] = writer._add_object(stream)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


async def test_a_decompression_bomb_gives_no_text_and_takes_no_time(sandbox: Sandbox) -> None:
    """The PDF reader stops unpacking at its own limit; what it has by then is no text."""
    content = bomb()
    assert len(content) < 2**20
    started = time.monotonic()
    await sandbox.check_pdf(content)
    with pytest.raises(DocumentError):
        await sandbox.parse(content, PDF)
    assert time.monotonic() - started < 20


async def test_memory_and_time_end_the_child(sandbox: Sandbox) -> None:
    """Headings stand before each of their blocks: the answer would be 2.4 GB of them."""
    headings = "".join(f"<h{level}>{'h' * 20_000}</h{level}>" for level in range(1, 7))
    with pytest.raises(DocumentError) as caught:
        await sandbox.parse(f"{headings}{'<p>x</p>' * 20_000}".encode(), HTML)
    assert caught.value.code is ErrorCode.DOCUMENT_UNREADABLE
    with pytest.raises(DocumentError, match="more than 60 s or 256 MiB"):
        await Sandbox(memory_bytes=2**28).parse(f"{headings}{'<p>x</p>' * 2000}".encode(), HTML)
    hasty = Sandbox(wall_s=0.01)
    with pytest.raises(DocumentError) as caught:
        await hasty.parse(b"# quick", MARKDOWN)
    assert caught.value.code is ErrorCode.DOCUMENT_UNREADABLE
    await hasty.close()


async def test_a_reader_that_was_killed_is_started_again(sandbox: Sandbox) -> None:
    await sandbox.parse(b"# first\n\ntext", MARKDOWN)
    reader = sandbox._reader
    assert reader is not None
    reader.kill()
    reader.wait()
    assert (await sandbox.parse(b"# second\n\ntext", MARKDOWN)).title == "second"


async def test_many_documents_are_read_at_once(sandbox: Sandbox) -> None:
    read = await asyncio.gather(*(sandbox.parse(b"# Title %d\n\ntext" % n, MARKDOWN) for n in range(12)))
    assert [parsed.title for parsed in read] == [f"Title {n}" for n in range(12)]


async def test_the_reader_has_none_of_the_services_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-service")
    fresh = Sandbox()
    await fresh.parse(b"text", MARKDOWN)
    assert fresh._reader is not None
    environment = await asyncio.to_thread(Path(f"/proc/{fresh._reader.pid}/environ").read_bytes)
    assert b"PYTHONPATH" in environment
    assert b"secret-of-the-service" not in environment
    await fresh.close()


@pytest.mark.parametrize("content", [b"<div>" * 20_000, b"> " * 5000 + b"x", b"[" * 50_000, b"*" * 50_000])
async def test_deep_nesting_is_read_or_refused_but_not_a_crash(sandbox: Sandbox, content: bytes) -> None:
    for media_type in (HTML, MARKDOWN):
        started = time.monotonic()
        try:
            await sandbox.parse(content, media_type)
        except DocumentError as error:
            code: ErrorCode | None = error.code
        else:
            code = None
        assert code in (None, ErrorCode.DOCUMENT_UNREADABLE, ErrorCode.DOCUMENT_EMPTY)
        assert time.monotonic() - started < 60


async def test_text_that_no_database_takes_is_cleaned(sandbox: Sandbox) -> None:
    """A font that maps its glyphs to NUL and to half of a surrogate pair."""
    writer = PdfWriter()
    page = writer.add_blank_page(72, 72)
    mapping = DecodedStreamObject()
    mapping.set_data(
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <FF> endcodespacerange "
        b"3 beginbfchar <41> <0000> <42> <D800> <43> <0043> endbfchar endcmap end"
    )
    contents = DecodedStreamObject()
    contents.set_data(b"BT /F1 12 Tf 10 10 Td (ABC) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(contents)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/ToUnicode"): writer._add_object(mapping),
        }
    )
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
    )
    out = io.BytesIO()
    writer.write(out)
    text = " ".join(block.text for block in (await sandbox.parse(out.getvalue(), PDF)).blocks)
    assert text == "C"
