"""The form of a line: one JSON object, whatever it has to say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from app.settings import Settings
from app.telemetry.logs import configure_logs
from app.telemetry.redaction import begin_private, keep_private


@pytest.fixture(autouse=True)
def configured(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs(Settings(redis_password="pässwört"))
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_what_every_line_has_comes_first_and_its_moment_is_now(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("app.here").info("happened", n=1)
    (line,) = lines(capsys)
    assert list(line) == ["timestamp", "level", "logger", "message", "n"]
    said = datetime.fromisoformat(line["timestamp"])
    assert abs(datetime.now(UTC) - said) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a name\n{}", "a name\n{}"),
        # Bytes of a file's name that are no UTF-8.
        ("report\udcff.pdf", "report\udcff.pdf"),
        (1 << 70, 1 << 70),
        ({1: "one"}, {"1": "one"}),
        ({"set"}, "{'set'}"),
    ],
)
def test_any_value_makes_one_line(capsys: pytest.CaptureFixture[str], value: object, written: object) -> None:
    structlog.get_logger("app.here").info("happened", value=value)
    (line,) = lines(capsys)
    assert line["value"] == written


@pytest.mark.parametrize("text", ["Wie heißt »Anker« auf Englisch?", 'Ärger "mit\\Zeichen"\n'])
def test_letters_beyond_ascii_are_hidden_too(capsys: pytest.CaptureFixture[str], text: str) -> None:
    begin_private()
    keep_private(text)
    structlog.get_logger("app.here").info(f"failed at {text}", password="pässwört")
    (line,) = lines(capsys)
    assert (line["message"], line["password"]) == ("failed at [hidden]", "[hidden]")
    begin_private()
