"""E-mail (RFC 5322 with MIME): who wrote to whom and when, the text, and what is attached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart

from app.errors import AnchorageError
from app.ingest.media import EML, HTML, TEXT, media_type_of
from app.ingest.parse.blocks import Block, Parsed, storable

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
MAX_DEPTH = 3


def parse_mail(content: bytes, parse: Callable[[bytes, str], Parsed], depth: int = 1) -> Parsed:
    """Attachments that ``parse`` can read stand under their names; of others the name is kept."""
    message = message_from_bytes(content, policy=policy.default)
    head = "\n".join(f"{name}: {storable(str(message[name]))}" for name in _HEADERS if message[name])
    blocks = [Block(head)] if head else []
    body = message.get_body(("plain", "html"))
    if body is not None:
        media_type = HTML if body.get_content_type() == HTML else TEXT
        text = storable(_text_of(body))
        blocks += parse(text.encode(), media_type).blocks if text.strip() else []
    for part in message.iter_attachments():
        blocks += _attachment(part, parse, depth)
    return Parsed(storable(str(message["Subject"] or "")).strip() or None, blocks)


def _text_of(body: MIMEPart) -> str:
    try:
        return str(body.get_content())
    except LookupError:
        # It names a character set that nobody knows.
        return bytes(body.get_payload(decode=True)).decode("utf-8", "replace")


def _attachment(part: MIMEPart, parse: Callable[[bytes, str], Parsed], depth: int) -> Iterator[Block]:
    name = storable(part.get_filename() or "attachment")
    declared = part.get_content_type()
    # A message that is attached as one is kept by the parser as an object.
    inner = part.get_payload(0) if part.is_multipart() else part.get_payload(decode=True)
    content = inner.as_bytes() if isinstance(inner, EmailMessage) else inner if isinstance(inner, bytes) else b""
    try:
        media_type = media_type_of(declared, name, content)
        if media_type == EML and depth >= MAX_DEPTH:
            raise RecursionError
        parsed = parse_mail(content, parse, depth + 1) if media_type == EML else parse(content, media_type)
    except (AnchorageError, RecursionError):
        yield Block(f"Attached: {name} ({declared})")
        return
    for block in parsed.blocks:
        yield Block(block.text, (name, *block.heading_path), block.page)
