"""What all tests share."""

from __future__ import annotations

import pytest
import structlog
from hypothesis import settings

# An example may take longer than 200 ms while others use the processors; what must be fast has a test that times it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """Without it, each expected failure is drawn with all local variables, which takes seconds."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    defaults = structlog.get_config()["processors"][:-1]
    structlog.configure(processors=[*defaults, renderer])
