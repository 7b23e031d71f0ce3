"""What is taken out of a finished line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.settings import Settings
from app.telemetry.redaction import Redactor, begin_private, keep_private

SETTINGS: dict[str, Any] = {
    "secret_key": "k" * 40,
    "database_url": "postgresql://owner:s3cret%40word@db.example.org/anchorage",
    "openai_api_key": 'sk-"quoted"\\-key',
    "redis_password": "abc",
}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("key kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk.", "key [hidden]."),
        ("postgresql://owner:s3cret%40word@db.example.org", "postgresql://owner:[hidden]@db.example.org"),
        ("password s3cret@word is wrong", "password [hidden] is wrong"),
        ('given sk-"quoted"\\-key', "given [hidden]"),
        ("anc_0123456789_" + "x" * 43, "anc_0123456789_[hidden]"),
        # Too short to be told from words.
        ("abc is the alphabet", "abc is the alphabet"),
    ],
)
def test_secrets_are_hidden_whatever_form_they_have(said: str, left: str) -> None:
    redactor = Redactor(Settings(**SETTINGS))
    assert json.loads(redactor.clean(json.dumps({"message": said})))["message"] == left


async def test_a_private_text_is_hidden_in_all_tasks_of_its_request_and_in_no_other() -> None:
    redactor, question = Redactor(Settings()), 'Who says "harbour"?'
    line = json.dumps({"message": f"failed at {question}"})

    async def inner() -> None:
        keep_private(question)

    async def request(*, private: bool) -> str:
        begin_private()
        if private:
            await asyncio.create_task(inner())
        await asyncio.sleep(0.01)
        return redactor.clean(line)

    hidden, shown = await asyncio.gather(request(private=True), request(private=False))
    assert "harbour" not in hidden
    assert shown == line
