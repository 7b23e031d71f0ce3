"""Text that others wrote, made harmless before a model reads it: it can neither speak as somebody else nor hide."""

from __future__ import annotations

import re
import unicodedata

# What chat templates put between the speakers. Some servers read these as control tokens wherever they stand, so that
# a document could end its own message and begin one of the system's.
_CONTROL = re.compile(
    r"<(?=[|\uff5c])"  # ChatML, Llama 3, Phi, DeepSeek: <|im_start|>, <|eot_id|>
    r"|(?<=[|\uff5c])>"
    r"|<(?=<\s*/?\s*SYS\s*>>)"  # Llama 2: <<SYS>>
    r"|<(?=/?(?:s|bos|eos|unk|pad|sop|eop|start_of_turn|end_of_turn|tool_call|tool_response|think)>)"  # Gemma, Mistral
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|gMASK)\])",  # Mistral, GLM
    re.IGNORECASE,
)
# A frame of our own kind: it could not close the true one, whose mark it doesn't know, but a small model may think so.
_FRAME = re.compile(r"<(?=\s*/?\s*passage\b)", re.IGNORECASE)
# "[3]" in a document is its own reference, or a trap: only the answer's are citations.
_MARKER = re.compile(r"\[(\s*\d{1,3}(?:\s*[,;]\s*\d{1,3})*\s*)\]")
_KEPT = frozenset("\n\t")
_JOINERS = frozenset("\u200c\u200d")


def defuse(text: str) -> str:
    """The text without what is invisible, and with its control tokens and frames broken by a space.

    Invisible are control, format and private characters: among them the tags (U+E0000 to U+E007F) and variation
    selectors that hide instructions, and marks that turn the direction of writing (Boucher et al. 2022, "Bad
    Characters"). Joiners between letters stay: Persian, Hindi and emoji need them.
    """
    return _FRAME.sub("< ", _CONTROL.sub(lambda match: _broken(match.group()), _visible(text)))


def as_passage(text: str) -> str:
    """``defuse``, and numbers in brackets become numbers in parentheses."""
    return _MARKER.sub(r"(\1)", defuse(text))


def _broken(mark: str) -> str:
    return f" {mark}" if mark == ">" else f"{mark} "


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    base = [char for char in text if _is_base(char) or char in _JOINERS or _selects(char)]
    kept: list[str] = []
    for char, following in zip(base, [*base, " "][1:], strict=True):
        before = kept[-1] if kept else " "
        if _selects(char):
            # One shows a character as text or as a picture; a row of them spells bytes.
            if before.isspace() or before in _JOINERS or _selects(before):
                continue
        elif char in _JOINERS and (
            before.isascii() or before in _JOINERS or following.isascii() or not _is_base(following)
        ):
            continue
        kept.append(char)
    return "".join(kept)


def _is_base(char: str) -> bool:
    if char.isascii():
        return char in _KEPT or char.isprintable()
    if _selects(char) or "\U000e0100" <= char <= "\U000e01ef":
        return False
    return unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs", "Cn")


def _selects(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f"
