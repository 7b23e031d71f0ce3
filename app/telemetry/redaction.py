"""What no log line may hold, taken out of the finished line: the last guard behind all care before it."""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from app.settings import Settings

HIDDEN = "[hidden]"
_API_KEY = re.compile(r"anc_([a-z0-9]{4,16})_[A-Za-z0-9_-]{32,128}")
# What is shorter can't be told from words.
MIN_LENGTH = 6
_texts: ContextVar[list[str] | None] = ContextVar("private_texts", default=None)


def begin_private() -> None:
    """A request begins: what is kept private in any of its tasks is so in all of them."""
    _texts.set([])


def keep_private(text: str) -> None:
    """From here on no line of this request may quote this text, such as a question that must not be logged."""
    kept = _texts.get()
    if kept is None:
        _texts.set([text])
    elif text not in kept:
        kept.append(text)


class Redactor:
    """Knows the secrets of the settings."""

    def __init__(self, settings: Settings) -> None:
        found: set[str] = set()
        for name in type(settings).model_fields:
            value = getattr(settings, name)
            if isinstance(value, SecretStr):
                found |= _variants(name, value.get_secret_value())
        # The longest first: one may hold another.
        self._secrets = sorted((secret for secret in found if len(secret) >= MIN_LENGTH), key=len, reverse=True)

    def over(self, render: Processor) -> Processor:
        """The renderer, and then what it may not have written is taken out."""

        def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
            return self.clean(str(render(logger, method, event)))

        return rendered

    def clean(self, line: str) -> str:
        """The line without secrets and private texts."""
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, HIDDEN)
        for text in _texts.get() or ():
            for form in {text, *_in_json(text), repr(text)[1:-1]}:
                if len(form) >= MIN_LENGTH and form in line:
                    line = line.replace(form, HIDDEN)
        return _API_KEY.sub(rf"anc_\1_{HIDDEN}", line) if "anc_" in line else line


def _variants(name: str, secret: str) -> set[str]:
    """A secret as it may stand in a line; of an address, the password is the secret, and not the host."""
    if name.endswith("_url"):
        password = urlsplit(secret).password
        parts = {password, unquote(password)} if password else set()
    else:
        parts = {secret}
    return parts.union(*map(_in_json, parts))


def _in_json(text: str) -> set[str]:
    """As a line has it, and as one within one has it."""
    return {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)}
