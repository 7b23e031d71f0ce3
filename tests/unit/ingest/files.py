"""Small files of every format, made by the libraries that people's programs use."""

from __future__ import annotations

import io
from email.message import EmailMessage
from zipfile import ZipFile

from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches


def docx() -> bytes:
    document = Document()
    document.core_properties.title = "Harbour rules"
    document.add_heading("Fees", 1)
    document.add_paragraph("A berth costs 34 euros a night.")
    document.add_heading("Boats over twelve metres", 2)
    table = document.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, (("length", "fee"), ("14 m", "51 euros")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    document.add_heading("Safety", 1)
    document.add_paragraph("Life jackets are worn on the pontoons.")
    return _saved(document)


def pptx() -> bytes:
    presentation = Presentation()
    for title, text in (("Cranes", "The large crane lifts eighty tonnes."), ("Tides", "High water is at four.")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    box = slide.shapes.add_group_shape().shapes.add_textbox(Inches(1), Inches(1), Inches(1), Inches(1))
    box.text_frame.text = "Grouped: mind the current."
    slide.notes_slide.notes_text_frame.text = "Say that the table is from 2025."
    return _saved(presentation)


def xlsx() -> bytes:
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = "Berths"
    for row in (("berth", "length", "free"), ("A1", 12.5, True), (None, None, None), ("A2", 9, False)):
        sheet.append(row)
    workbook.create_sheet("Empty")
    return _saved(workbook)


def epub() -> bytes:
    out = io.BytesIO()
    with ZipFile(out, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        book.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            '<dc:title>The pilot</dc:title></metadata><manifest><item id="b" href="second%20page.xhtml"/>'
            '<item id="a" href="text/first.xhtml"/><item id="c" href="unused.xhtml"/></manifest>'
            '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>',
        )
        book.writestr("OPS/text/first.xhtml", "<html><body><h1>Arrival</h1><p>Call on channel 9.</p></body></html>")
        book.writestr("OPS/second page.xhtml", "<html><body><h1>Mooring</h1><p>Four lines.</p></body></html>")
        book.writestr("OPS/unused.xhtml", "<html><body><p>Not in the spine.</p></body></html>")
    return out.getvalue()


def eml(depth: int = 0) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Ana <ana@example.org>", "harbour@example.org"
    message["Subject"] = "Berth for Saturday: größer"
    message.set_content("Is A1 free on Saturday?")
    message.add_alternative("<p>Is <b>A1</b> free on Saturday?</p>", subtype="html")
    message.add_attachment(docx(), maintype="application", subtype="octet-stream", filename="rules.docx")
    message.add_attachment(b"\x89PNG....", maintype="image", subtype="png", filename="boat.png")
    if depth:
        message.add_attachment(eml(depth - 1), maintype="application", subtype="octet-stream", filename=f"{depth}.eml")
    return message.as_bytes()


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()
