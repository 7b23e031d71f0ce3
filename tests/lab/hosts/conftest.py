"""Labs of these tests: names of their own, gone afterwards whatever happened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from lab import Lab

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: run these tests with sudo, or leave out -m lab")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts, one of each release."""
    lab = Lab(f"test-{os.getpid()}")
    try:
        lab.up([("one", "trixie"), ("two", "bookworm")])
        yield lab
    finally:
        lab.down()


@pytest.fixture
def labs() -> Iterator[Callable[[str], Lab]]:
    """Names more labs, which are destroyed after the test."""
    made: list[Lab] = []

    def name(suffix: str) -> Lab:
        made.append(Lab(f"test-{os.getpid()}-{suffix}"))
        return made[-1]

    yield name
    for lab in made:
        lab.down()


@pytest.fixture
def command() -> Command:
    """Runs `python -m lab` from another directory, as an operator's script would."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lab", *words]
        return subprocess.run(
            line, cwd="/", capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **variables}
        )

    return run
