"""EPUB (W3C EPUB 3.3, also 2): the pages of the spine in order."""

from __future__ import annotations

import io
import posixpath
from urllib.parse import unquote
from zipfile import ZipFile

from app.ingest.media import HTML, decode
from app.ingest.parse.blocks import Block, Parsed, squeeze
from app.ingest.parse.html import parse_html

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_PACKAGE = "{http://www.idpf.org/2007/opf}"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"


def parse_epub(content: bytes) -> Parsed:
    """Each page of the spine as HTML; the book's own title."""
    from lxml import etree

    # No entity and no address in the file is followed.
    reader = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    with ZipFile(io.BytesIO(content)) as book:
        container = etree.fromstring(book.read("META-INF/container.xml"), reader)
        package_path = container.find(f".//{_CONTAINER}rootfile").attrib["full-path"]
        package = etree.fromstring(book.read(package_path), reader)
        hrefs = {item.attrib["id"]: item.attrib["href"] for item in package.iter(f"{_PACKAGE}item")}
        folder = posixpath.dirname(package_path)
        blocks: list[Block] = []
        for entry in package.iter(f"{_PACKAGE}itemref"):
            name = posixpath.normpath(posixpath.join(folder, unquote(hrefs[entry.attrib["idref"]])))
            if name.endswith((".xhtml", ".html", ".htm")):
                blocks += parse_html(decode(book.read(name), HTML)).blocks
    title = package.find(f".//{_TITLE}")
    return Parsed(squeeze(title.text or "") or None if title is not None else None, blocks)
