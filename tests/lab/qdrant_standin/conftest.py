"""Fixtures: a running stand-in for a module, and one that a test may kill."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Standin

# The client warns that an API key travels over plain HTTP; here it travels over loopback.
warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    server = Standin(tmp_path_factory.mktemp("standin")).start()
    yield server
    server.end()


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Standin]:
    """Not started; whatever runs at the end is ended."""
    server = Standin(tmp_path / "fragile")
    yield server
    if server.process is not None:
        server.end()
