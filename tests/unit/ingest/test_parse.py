"""Every format: what is kept of it, and how it is refused."""

from __future__ import annotations

import io
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from app.errors import AnchorageError, DocumentError, ErrorCode
from app.ingest.media import CODE, CSV, DOCX, EML, EPUB, JSON, PPTX, SUPPORTED, TEXT, XLSX, media_type_of
from app.ingest.parse import parse
from app.ingest.parse.blocks import Block
from app.ingest.sandbox import Sandbox
from tests.unit.ingest import files


def test_word_keeps_headings_and_tables_in_order() -> None:
    parsed = parse(files.docx(), DOCX)
    assert parsed.title == "Harbour rules"
    assert parsed.blocks == [
        Block("A berth costs 34 euros a night.", ("Fees",)),
        Block("length | fee\n14 m | 51 euros", ("Fees", "Boats over twelve metres")),
        Block("Life jackets are worn on the pontoons.", ("Safety",)),
    ]


def test_presentations_keep_slides_groups_and_notes() -> None:
    parsed = parse(files.pptx(), PPTX)
    assert parsed.title == "Cranes"
    assert parsed.blocks == [
        Block("The large crane lifts eighty tonnes.", ("Cranes",), 1),
        Block("High water is at four.", ("Tides",), 2),
        Block("Grouped: mind the current.", ("Tides",), 2),
        Block("Say that the table is from 2025.", ("Tides",), 2),
    ]


def test_each_row_of_a_workbook_names_its_columns() -> None:
    assert parse(files.xlsx(), XLSX).blocks == [
        Block("berth: A1\nlength: 12.5\nfree: True", ("Berths",)),
        Block("berth: A2\nlength: 9\nfree: False", ("Berths",)),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_so_does_each_row_of_a_table_however_it_is_separated(separator: str) -> None:
    rows = ['berth,"length",note', "A1,12.5,by the crane", 'A2,9,"he said ""no"""']
    text = "\r\n".join(rows).replace(",", separator)
    assert [block.text for block in parse(text.encode(), CSV).blocks] == [
        "berth: A1\nlength: 12.5\nnote: by the crane",
        'berth: A2\nlength: 9\nnote: he said "no"',
    ]


def test_a_book_is_read_in_the_order_of_its_spine() -> None:
    parsed = parse(files.epub(), EPUB)
    assert parsed.title == "The pilot"
    assert parsed.blocks == [
        Block("Call on channel 9.", ("Arrival",)),
        Block("Four lines.", ("Mooring",)),
    ]


def test_json_entries_say_where_each_value_stands() -> None:
    text = '{"office": {"opens": 9, "days": ["Mon", "Tue"], "closed": false}, "berths": [{"id": "A1"}, {"id": "A2"}]}'
    assert parse(text.encode(), JSON).blocks == [
        Block("office.opens: 9\noffice.days: Mon, Tue\noffice.closed: false", ("office",)),
        Block("berths.id: A1\nberths.id: A2", ("berths",)),
    ]
    lines = parse(b'{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n', JSON).blocks
    assert [block.text for block in lines] == ["id: 1\ntext: one", "id: 2\ntext: two"]


def test_mail_keeps_who_wrote_what_and_reads_what_is_attached() -> None:
    parsed = parse(files.eml(), EML)
    assert parsed.title == "Berth for Saturday: größer"
    head, body, *attached = parsed.blocks
    assert head.text.startswith("From: Ana <ana@example.org>\nTo: harbour@example.org\n")
    assert body.text == "Is A1 free on Saturday?"
    assert attached[0] == Block("A berth costs 34 euros a night.", ("rules.docx", "Fees"))
    assert attached[-1] == Block("Attached: boat.png (image/png)")


def test_mail_within_mail_is_read_to_a_depth() -> None:
    blocks = parse(files.eml(depth=5), EML).blocks
    assert max(len(block.heading_path) for block in blocks) < 6
    assert any(block.text.startswith("Attached: ") and ".eml" in block.text for block in blocks)


def test_source_code_keeps_its_indentation() -> None:
    text = "def berth():\n    return 34\n\n\nclass Crane:\n    tonnes = 80\n"
    assert parse(text.encode(), CODE).blocks == [Block(text.strip("\n"))]


@pytest.mark.parametrize(
    ("declared", "name", "content", "media_type"),
    [
        (None, "a.py", b"x = 1", CODE),
        ("text/x-python", "a", b"x = 1", CODE),
        ("video/mp2t", "a.ts", b"let x = 1", CODE),
        ("application/vnd.ms-excel", "a.csv", b"a,b", CSV),
        ("application/octet-stream", "a.docx", files.docx(), DOCX),
        (PPTX, "a", files.pptx(), PPTX),
        ("", "a.eml", b"Subject: x\n\ny", EML),
        ("text/plain; charset=utf-8", "a", b"x", TEXT),
    ],
)
def test_what_a_file_is(declared: str | None, name: str, content: bytes, media_type: str) -> None:
    assert media_type_of(declared, name, content) == media_type


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.docx", b"no archive", ErrorCode.DOCUMENT_UNREADABLE),
        ("a.docx", files.docx()[:-200], ErrorCode.DOCUMENT_UNREADABLE),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), ErrorCode.DOCUMENT_UNREADABLE),
        ("a.docx", files.xlsx(), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("a.csv", files.xlsx(), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        ("a.exe", b"MZ", ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_what_it_is_not(name: str, content: bytes, code: ErrorCode) -> None:
    with pytest.raises(AnchorageError) as caught:
        media_type_of(None, name, content)
    assert caught.value.code is code


def hollow(content: bytes, entry: str) -> bytes:
    """The archive with rubbish in one entry."""
    out = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as old, ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"<rubbish" if name == entry else old.read(name))
    return out.getvalue()


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (DOCX, hollow(files.docx(), "word/document.xml")),
        (PPTX, hollow(files.pptx(), "ppt/slides/slide1.xml")),
        (XLSX, hollow(files.xlsx(), "xl/workbook.xml")),
        (EPUB, hollow(files.epub(), "META-INF/container.xml")),
        (JSON, b'{"a": '),
        (JSON, b"[" * 100_000),
    ],
)
def test_damage_is_told_and_ends_nothing(media_type: str, content: bytes) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(content, media_type)
    assert caught.value.code is ErrorCode.DOCUMENT_UNREADABLE


async def test_an_archive_bomb_ends_the_child_alone() -> None:
    out = io.BytesIO()
    with ZipFile(io.BytesIO(files.docx())) as old, ZipFile(out, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name == "word/document.xml":
                with new.open(name, "w", force_zip64=True) as entry:
                    for _ in range(1500):
                        entry.write(b" " * 2**20)
            else:
                new.writestr(name, old.read(name))
    assert len(out.getvalue()) < 4 * 2**20
    with pytest.raises(DocumentError) as caught:
        await Sandbox().parse(out.getvalue(), DOCX)
    assert caught.value.code is ErrorCode.DOCUMENT_UNREADABLE


@pytest.mark.parametrize("media_type", SUPPORTED)
def test_nothing_but_white_space_is_refused(media_type: str) -> None:
    with pytest.raises(DocumentError):
        parse(b"  \n ", media_type)
