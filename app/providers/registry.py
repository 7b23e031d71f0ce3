"""The answerers that this service has, by name; each is loaded when it is first used."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from app.errors import ConfigurationError, ProviderNotConfiguredError
from app.providers.breaker import Breaker, Circuit
from app.providers.extractive import ExtractiveAnswerer
from app.providers.fallback import FallbackAnswerer
from app.providers.guard import GuardedAnswerer
from app.providers.prices import Prices
from app.providers.protocols import Answerer, ImageDescriber
from app.providers.remote import Limits
from app.settings import AnswerProvider, Settings
from app.telemetry.metrics import Metrics

# The order in which `auto` asks those that are configured.
AUTO = (AnswerProvider.OPENAI, AnswerProvider.ANTHROPIC, AnswerProvider.GEMINI, AnswerProvider.OLLAMA)
NEEDS = {
    AnswerProvider.OPENAI: "OPENAI_API_KEY or OPENAI_BASE_URL",
    AnswerProvider.ANTHROPIC: "ANTHROPIC_API_KEY",
    AnswerProvider.GEMINI: "GEMINI_API_KEY",
    AnswerProvider.OLLAMA: "OLLAMA_HOST",
}
OPENAI_CONTEXT_TOKENS = 128_000
OTHER_CONTEXT_TOKENS = 8_192
_CIRCUIT_NUMBER = {Circuit.CLOSED: 0, Circuit.HALF_OPEN: 1, Circuit.OPEN: 2}


class Answerers:
    """Made when first asked for. A provider has one circuit breaker, whichever of its models is asked."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._prices = Prices(settings.model_prices)
        self._made: dict[tuple[AnswerProvider, str | None], GuardedAnswerer] = {}
        self._breakers: dict[AnswerProvider, Breaker] = {}
        self._chain: FallbackAnswerer | None = None

    def get(self, name: str | None, model: str | None = None) -> Answerer:
        """The answerer of that name; none, or ``auto``, means the service's own order, ``PROVIDERS``.

        A provider that is named answers itself or fails: there is no fallback from it. ``model`` is another model of
        the named provider, or of the first one.

        Raises:
            ProviderNotConfiguredError: there is none of that name, a setting is missing (it names it), or the model
            is not allowed.
            ConfigurationError: the service's own choice can't be made; it must not start.
        """
        if name in (None, AnswerProvider.AUTO) and model is None:
            return self._own_choice()
        try:
            provider = self.order[0] if name in (None, AnswerProvider.AUTO) else AnswerProvider(name)
            return self._get(provider, self._allowed(provider, model))
        except ConfigurationError as error:
            raise ProviderNotConfiguredError(error.detail) from error
        except ValueError as error:
            known = ", ".join(AnswerProvider)
            raise ProviderNotConfiguredError(f"There is no provider {name!r}; there are: {known}.") from error

    def describer(self) -> ImageDescriber | None:
        """Who describes images; None when ``VISION_PROVIDER`` is not set. Raises ConfigurationError."""
        vision = self._settings.vision_provider
        if vision is None:
            return None
        return self._get(AnswerProvider(vision), self._settings.vision_model)

    def circuits(self) -> dict[str, Circuit]:
        """The state of each provider that was asked so far."""
        return {provider: breaker.state for provider, breaker in self._breakers.items()}

    async def close(self) -> None:
        """Close all that were made, each whether or not another fails to."""
        async with AsyncExitStack() as stack:
            for answerer in self._made.values():
                stack.push_async_callback(answerer.close)
            self._made = {}
            self._chain = None

    def _own_choice(self) -> FallbackAnswerer:
        if self._chain is None:
            answerers = [self._get(provider, None) for provider in self.order]
            self._chain = FallbackAnswerer(answerers, self._settings.provider_first_token_timeout)
        return self._chain

    @property
    def order(self) -> list[AnswerProvider]:
        """``PROVIDERS``, each once; ``auto`` stands for those that are configured, and then extractive."""
        order: list[AnswerProvider] = []
        for provider in self._settings.providers:
            if provider is AnswerProvider.AUTO:
                order += [*(one for one in AUTO if self._configured(one)), AnswerProvider.EXTRACTIVE]
            else:
                order.append(provider)
        return list(dict.fromkeys(order))

    def _allowed(self, provider: AnswerProvider, model: str | None) -> str | None:
        """The model, None for the configured one. Each model costs something else, and is a label of the metrics."""
        own = self._model(provider)
        if model is None or model == own:
            return None
        allowed = self._settings.allowed_models
        if own is None or not ("*" in allowed or model in allowed):
            raise ProviderNotConfiguredError(
                f"The provider {str(provider)!r} answers with {own or 'its own model'!r} here; ALLOWED_MODELS names "
                "the others that may be asked for."
            )
        return model

    def _model(self, provider: AnswerProvider) -> str | None:
        settings = self._settings
        return {
            AnswerProvider.OPENAI: settings.openai_model,
            AnswerProvider.ANTHROPIC: settings.anthropic_model,
            AnswerProvider.GEMINI: settings.gemini_model,
            AnswerProvider.OLLAMA: settings.ollama_model,
        }.get(provider)

    def _configured(self, provider: AnswerProvider) -> bool:
        settings = self._settings
        return {
            AnswerProvider.OPENAI: bool(settings.openai_api_key or settings.openai_base_url),
            AnswerProvider.ANTHROPIC: settings.anthropic_api_key is not None,
            AnswerProvider.GEMINI: settings.gemini_api_key is not None,
            AnswerProvider.OLLAMA: settings.ollama_host is not None,
        }.get(provider, True)

    def _get(self, provider: AnswerProvider, model: str | None) -> GuardedAnswerer:
        if (provider, model) not in self._made:
            if not self._configured(provider):
                raise ConfigurationError(f"The provider {str(provider)!r} is not configured: set {NEEDS[provider]}.")
            answerer = self._make(provider, model)
            self._made[provider, model] = GuardedAnswerer(
                answerer, self._breaker(provider), self._prices, self._metrics
            )
        return self._made[provider, model]

    def _breaker(self, provider: AnswerProvider) -> Breaker:
        if provider not in self._breakers:
            gauge = self._metrics.provider_circuit.labels(provider)
            self._breakers[provider] = Breaker(
                self._settings.provider_failures,
                self._settings.provider_rest_seconds,
                self._clock,
                lambda state: gauge.set(_CIRCUIT_NUMBER[state]),
            )
        return self._breakers[provider]

    def _make(self, provider: AnswerProvider, model: str | None) -> Answerer:
        """Their clients take long to load, so each is loaded when it is asked for."""
        settings = self._settings
        if provider is AnswerProvider.EXTRACTIVE:
            return ExtractiveAnswerer()
        if provider is AnswerProvider.LOCAL:
            from app.providers.local import LocalAnswerer

            return LocalAnswerer(
                model_path=settings.local_model_path,
                timeout_s=settings.provider_timeout,
                context_tokens=settings.local_context_tokens,
            )
        model = model or self._model(provider) or ""
        if provider is AnswerProvider.ANTHROPIC:
            from app.providers.anthropic import AnthropicAnswerer

            return AnthropicAnswerer(
                model=model,
                api_key=settings.anthropic_api_key.get_secret_value() if settings.anthropic_api_key else "",
                base_url=settings.anthropic_base_url,
                limits=self._limits(settings.anthropic_context_tokens),
            )
        if provider is AnswerProvider.GEMINI:
            from app.providers.gemini import GeminiAnswerer

            return GeminiAnswerer(
                model=model,
                api_key=settings.gemini_api_key.get_secret_value() if settings.gemini_api_key else "",
                base_url=settings.gemini_base_url,
                limits=self._limits(settings.gemini_context_tokens),
            )
        from app.providers.openai import OllamaAnswerer, OpenAIAnswerer

        if provider is AnswerProvider.OLLAMA:
            # OpenAI's key is never sent there.
            return OllamaAnswerer(
                model=model,
                api_key=None,
                base_url=f"{(settings.ollama_host or '').rstrip('/')}/v1",
                limits=self._limits(settings.ollama_context_tokens),
                name=provider,
            )
        usual = OPENAI_CONTEXT_TOKENS if settings.openai_base_url is None else OTHER_CONTEXT_TOKENS
        return OpenAIAnswerer(
            model=model,
            api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
            base_url=settings.openai_base_url,
            limits=self._limits(settings.openai_context_tokens or usual),
        )

    def _limits(self, context_tokens: int) -> Limits:
        return Limits(self._settings.provider_timeout, context_tokens, self._settings.provider_retries)
