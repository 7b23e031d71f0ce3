"""The answerers that this service has, by name; each is loaded when it is first used."""

from __future__ import annotations

from contextlib import AsyncExitStack

from app.errors import ConfigurationError, ProviderNotConfiguredError
from app.providers.extractive import ExtractiveAnswerer
from app.providers.protocols import Answerer
from app.settings import AnswerProvider, Settings


class Answerers:
    """Made when first asked for; ``auto`` is the OpenAI-compatible server where one is configured, else extractive."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[AnswerProvider, Answerer] = {}

    def get(self, name: str | None) -> Answerer:
        """The answerer of that name; none means the service's own choice, ``ANSWER_PROVIDER``.

        Raises:
            ProviderNotConfiguredError: there is none of that name, or a setting is missing; it names it.
            ConfigurationError: the service's own choice can't be made; it must not start.
        """
        if name is None:
            return self._get(self._settings.answer_provider)
        try:
            return self._get(AnswerProvider(name))
        except ConfigurationError as error:
            raise ProviderNotConfiguredError(error.detail) from error
        except ValueError as error:
            known = ", ".join(AnswerProvider)
            raise ProviderNotConfiguredError(f"There is no provider {name!r}; there are: {known}.") from error

    async def close(self) -> None:
        """Close all that were made, each whether or not another fails to."""
        async with AsyncExitStack() as stack:
            for answerer in self._made.values():
                stack.push_async_callback(answerer.close)
            self._made = {}

    def _get(self, wanted: AnswerProvider) -> Answerer:
        if wanted is AnswerProvider.AUTO:
            wanted = AnswerProvider.OPENAI if self._has_server() else AnswerProvider.EXTRACTIVE
        if wanted not in self._made:
            self._made[wanted] = self._make(wanted)
        return self._made[wanted]

    def _has_server(self) -> bool:
        settings = self._settings
        return any((settings.openai_api_key, settings.openai_base_url, settings.ollama_host))

    def _make(self, provider: AnswerProvider) -> Answerer:
        settings = self._settings
        if provider is AnswerProvider.EXTRACTIVE:
            return ExtractiveAnswerer()
        if provider is AnswerProvider.LOCAL:
            from app.providers.local import LocalAnswerer

            return LocalAnswerer(model_path=settings.local_model_path, timeout_s=settings.provider_timeout)
        if not self._has_server():
            raise ProviderNotConfiguredError(
                "No OpenAI-compatible server is configured: set OPENAI_API_KEY, OPENAI_BASE_URL or OLLAMA_HOST."
            )
        # Its client takes long to load.
        from app.providers.openai import OpenAIAnswerer

        base_url, api_key = self._server()
        return OpenAIAnswerer(
            model=settings.openai_model, api_key=api_key, base_url=base_url, timeout_s=settings.provider_timeout
        )

    def _server(self) -> tuple[str | None, str | None]:
        """Address (None is OpenAI's own) and key. OPENAI_* goes before OLLAMA_HOST, which is never sent the key."""
        settings = self._settings
        if settings.openai_base_url is None and settings.openai_api_key is None and settings.ollama_host is not None:
            return f"{settings.ollama_host.rstrip('/')}/v1", None
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
        return settings.openai_base_url, key
