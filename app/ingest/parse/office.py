"""Word documents, presentations and workbooks (Office Open XML)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

from app.ingest.parse.blocks import Block, Parsed, squeeze, storable, under
from app.ingest.parse.data import rows_to_blocks

_HEADING = re.compile(r"Heading (\d)")


def parse_docx(content: bytes) -> Parsed:
    """Paragraphs and tables in order, under the headings of the built-in styles."""
    from docx import Document
    from docx.table import Table

    document = Document(io.BytesIO(content))
    title = squeeze(document.core_properties.title or "")
    blocks: list[Block] = []
    path: tuple[str, ...] = ()
    for item in document.iter_inner_content():
        if isinstance(item, Table):
            text = _rows_text(item.rows)
        else:
            text = storable(squeeze(item.text))
            style = (item.style.name or "") if item.style is not None else ""
            heading = _HEADING.fullmatch(style)
            if style == "Title" and text:
                title = title or text
                continue
            if heading and text:
                path = under(path, int(heading.group(1)), text)
                continue
        if text:
            blocks.append(Block(text, path))
    return Parsed(title or next((block.heading_path[0] for block in blocks if block.heading_path), None), blocks)


def _rows_text(rows: Iterable[Any]) -> str:
    """Cells that were merged are repeated by the reader; they are said once."""
    lines = (
        " | ".join(dict.fromkeys(text for cell in row.cells if (text := storable(squeeze(cell.text))))) for row in rows
    )
    return "\n".join(line for line in lines if line)


def parse_pptx(content: bytes) -> Parsed:
    """Slide by slide: its title is the heading, its number the page; the speaker's notes come last."""
    from pptx import Presentation

    presentation = Presentation(io.BytesIO(content))
    blocks: list[Block] = []
    for number, slide in enumerate(presentation.slides, start=1):
        title = slide.shapes.title
        heading = squeeze(title.text_frame.text) if title is not None and title.has_text_frame else ""
        path = (storable(heading),) if heading else ()
        texts = [text for shape in slide.shapes if shape != title for text in _shape_texts(shape)]
        notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
        texts += [notes.text] if notes is not None else []
        found = [Block(text, path, number) for text in map(storable, texts) if text.strip()]
        blocks += found or ([Block(path[0], path, number)] if path else [])
    title_text = squeeze(presentation.core_properties.title or "")
    return Parsed(title_text or next((block.heading_path[0] for block in blocks if block.heading_path), None), blocks)


def _shape_texts(shape: Any) -> Iterator[str]:
    """Texts of a shape; a group's members are looked into without recursion."""
    stack = [shape]
    while stack:
        item = stack.pop()
        if hasattr(item, "shapes"):
            stack += reversed(list(item.shapes))
        elif getattr(item, "has_table", False):
            yield _rows_text(item.table.rows)
        elif item.has_text_frame:
            yield "\n".join(squeeze(paragraph.text) for paragraph in item.text_frame.paragraphs)


def parse_xlsx(content: bytes) -> Parsed:
    """Sheet by sheet, its name the heading: one block a row. Formulas are read as the values last computed."""
    from openpyxl import load_workbook

    workbook = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    blocks = [
        block
        for sheet in workbook.worksheets
        for block in rows_to_blocks(sheet.iter_rows(values_only=True), (sheet.title,))
    ]
    return Parsed(squeeze(workbook.properties.title or "") or None, blocks)
