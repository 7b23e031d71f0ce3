"""Which provider answers, by the settings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigurationError, ErrorCode, ProviderError, ProviderNotConfiguredError
from app.providers.protocols import AnswerRequest
from app.providers.registry import Answerers
from app.settings import Settings
from tests.unit.providers.conftest import HARBOUR, collect, faulty_server

KEY = "sk-very-secret-key-0123456789"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", "ANSWER_PROVIDER", "LOCAL_MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)


def answerers(**values: Any) -> Answerers:
    return Answerers(Settings(**values))


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({}, "extractive"),
        ({"openai_api_key": KEY}, "openai"),
        ({"openai_base_url": "http://127.0.0.1:9/v1"}, "openai"),
        ({"ollama_host": "http://127.0.0.1:9"}, "openai"),
        ({"openai_api_key": KEY, "answer_provider": "extractive"}, "extractive"),
        ({"answer_provider": "local"}, "local"),
    ],
)
async def test_the_services_own_choice(values: dict[str, Any], chosen: str) -> None:
    made = answerers(**values)
    assert made.get(None).name == chosen
    await made.close()


async def test_a_question_may_choose_and_gets_the_same_answerer_again() -> None:
    made = answerers(openai_api_key=KEY)
    assert made.get("extractive").name == "extractive"
    assert made.get("openai") is made.get("auto")
    await made.close()


@pytest.mark.parametrize(("name", "message"), [("openai", "OPENAI_API_KEY.*OLLAMA_HOST"), ("psychic", "extractive")])
def test_a_provider_without_settings_is_the_questions_error(name: str, message: str) -> None:
    with pytest.raises(ProviderNotConfiguredError, match=message) as caught:
        answerers().get(name)
    assert caught.value.code is ErrorCode.VALIDATION_FAILED


def test_a_missing_model_is_the_questions_error_or_the_services() -> None:
    made = answerers(local_model_path=Path("nowhere.gguf"), answer_provider="local")
    with pytest.raises(ProviderNotConfiguredError, match="LOCAL_MODEL_PATH"):
        made.get("local")
    with pytest.raises(ConfigurationError, match="LOCAL_MODEL_PATH"):
        made.get(None)


async def test_ollama_is_asked_at_its_openai_route_and_without_a_key() -> None:
    async with faulty_server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as server:
        made = answerers(ollama_host=f"{server.url}/")
        with pytest.raises(ProviderError):
            await collect(made.get(None), AnswerRequest("What?", [HARBOUR]))
        await made.close()
    assert server.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"bearer none" in server.requests[0].lower()


def test_the_key_goes_to_the_server_it_belongs_to() -> None:
    ollama = {"ollama_host": "http://127.0.0.1:11434"}
    assert answerers(**ollama, openai_api_key=KEY)._server() == (None, KEY)
    assert answerers(**ollama, openai_base_url="http://models/v1")._server() == ("http://models/v1", None)


async def test_closing_closes_all_even_if_one_fails() -> None:
    made = answerers(openai_api_key=KEY)
    closed: list[str] = []
    for name, fails in (("extractive", False), ("openai", True)):
        answerer = made.get(name)

        async def close(name: str = name, fails: bool = fails) -> None:
            closed.append(name)
            if fails:
                raise RuntimeError("broken")

        object.__setattr__(answerer, "close", close)
    with pytest.raises(RuntimeError):
        await made.close()
    assert sorted(closed) == ["extractive", "openai"]
