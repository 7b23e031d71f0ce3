"""The answerers that this service has, by name; each is loaded when it is first used."""

from __future__ import annotations

from app.errors import ProviderNotConfiguredError
from app.providers.extractive import ExtractiveAnswerer
from app.providers.protocols import Answerer
from app.settings import AnswerProvider, Settings


class Answerers:
    """Made when first asked for; ``auto`` is the OpenAI-compatible server where one is configured, else extractive."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[AnswerProvider, Answerer] = {}

    def get(self, name: str | None) -> Answerer:
        """The answerer of that name; none means the service's own choice.

        Raises:
            ProviderNotConfiguredError: a setting is missing; it names it.
        """
        wanted = AnswerProvider(name) if name else self._settings.answer_provider
        if wanted is AnswerProvider.AUTO:
            wanted = AnswerProvider.OPENAI if self._has_server() else AnswerProvider.EXTRACTIVE
        if wanted not in self._made:
            self._made[wanted] = self._make(wanted)
        return self._made[wanted]

    async def close(self) -> None:
        """Close all that were made."""
        for answerer in self._made.values():
            await answerer.close()

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
        from app.providers.openai import OpenAIAnswerer

        base_url = settings.openai_base_url
        if base_url is None and settings.ollama_host is not None:
            base_url = f"{settings.ollama_host.rstrip('/')}/v1"
        api_key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
        return OpenAIAnswerer(
            model=settings.openai_model, api_key=api_key, base_url=base_url, timeout_s=settings.provider_timeout
        )
