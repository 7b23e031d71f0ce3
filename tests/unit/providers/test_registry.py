"""Which provider answers, by the settings alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigurationError, ErrorCode, ProviderError, ProviderNotConfiguredError
from app.providers.protocols import AnswerRequest
from app.providers.registry import Answerers
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.unit.providers.conftest import HARBOUR, collect, faulty_server

KEY = "sk-very-secret-key-0123456789"
SERVER = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_", "OLLAMA_", "PROVIDERS", "LOCAL_")):
            monkeypatch.delenv(name)


def answerers(**values: Any) -> Answerers:
    return Answerers(Settings(**values), Metrics("test"))


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ({}, ["extractive"]),
        ({"openai_api_key": KEY}, ["openai", "extractive"]),
        ({"openai_base_url": f"{SERVER}/v1"}, ["openai", "extractive"]),
        ({"ollama_host": SERVER}, ["ollama", "extractive"]),
        ({"gemini_api_key": KEY, "anthropic_api_key": KEY}, ["anthropic", "gemini", "extractive"]),
        ({"openai_api_key": KEY, "providers": "extractive"}, ["extractive"]),
        (
            {"openai_api_key": KEY, "ollama_host": SERVER, "providers": "ollama, auto"},
            ["ollama", "openai", "extractive"],
        ),
        ({"providers": "local"}, ["local"]),
    ],
)
async def test_the_services_own_order(values: dict[str, Any], order: list[str]) -> None:
    made = answerers(**values)
    assert made.get(None).name == order[0]
    assert list(made.circuits()) == order
    await made.close()


async def test_a_question_may_choose_and_gets_the_same_answerer_again() -> None:
    made = answerers(openai_api_key=KEY)
    assert made.get("extractive").name == "extractive"
    assert made.get("openai") is made.get("openai")
    assert made.get("auto") is made.get(None)
    await made.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai", "OPENAI_API_KEY or OPENAI_BASE_URL"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("ollama", "OLLAMA_HOST"),
        ("psychic", "extractive"),
    ],
)
def test_a_provider_without_settings_is_the_questions_error(name: str, message: str) -> None:
    with pytest.raises(ProviderNotConfiguredError, match=message) as caught:
        answerers().get(name)
    assert caught.value.code is ErrorCode.VALIDATION_FAILED


@pytest.mark.parametrize(
    ("provider", "model", "allowed", "made_with"),
    [
        ("openai", "gpt-4o-mini", "", "gpt-4o-mini"),
        (None, "gpt-4o-mini", "", "gpt-4o-mini"),
        ("openai", "gpt-5-mini", "gpt-5-mini,gpt-5", "gpt-5-mini"),
        (None, "anything", "*", "anything"),
        ("openai", "gpt-5-pro", "gpt-5-mini", None),
        ("openai", "gpt-5-pro", "", None),
        ("extractive", "gpt-5-pro", "*", None),
    ],
)
async def test_another_model_must_be_allowed(
    provider: str | None, model: str, allowed: str, made_with: str | None
) -> None:
    made = answerers(openai_api_key=KEY, allowed_models=allowed)
    if made_with is None:
        with pytest.raises(ProviderNotConfiguredError, match="ALLOWED_MODELS"):
            made.get(provider, model)
    else:
        assert (made.get(provider, model).name, made.get(provider, model).model) == ("openai", made_with)
    await made.close()


def test_a_missing_model_is_the_questions_error_or_the_services() -> None:
    made = answerers(local_model_path=Path("nowhere.gguf"), providers="local")
    with pytest.raises(ProviderNotConfiguredError, match="LOCAL_MODEL_PATH"):
        made.get("local")
    with pytest.raises(ConfigurationError, match="LOCAL_MODEL_PATH"):
        made.get(None)


async def test_ollama_is_asked_at_its_openai_route_and_never_gets_openais_key() -> None:
    async with faulty_server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as server:
        made = answerers(ollama_host=f"{server.url}/", openai_api_key=KEY)
        with pytest.raises(ProviderError, match="OLLAMA_MODEL"):
            await collect(made.get("ollama"), AnswerRequest("What?", [HARBOUR]))
        await made.close()
    assert server.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"bearer none" in server.requests[0].lower()


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "ollama"])
async def test_images_are_described_by_the_provider_that_is_named(provider: str) -> None:
    keys = {"openai_api_key": KEY, "anthropic_api_key": KEY, "gemini_api_key": KEY, "ollama_host": SERVER}
    made = answerers(**keys, vision_provider=provider, vision_model="sees")
    describer = made.describer()
    assert describer is not None
    assert describer.model == "sees"
    await made.close()
    assert answerers(**keys).describer() is None
    with pytest.raises(ConfigurationError, match=f"{provider}.*set"):
        answerers(vision_provider=provider).describer()


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
