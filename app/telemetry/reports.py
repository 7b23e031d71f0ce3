"""Unexpected failures go to ``SENTRY_DSN`` too: every log line with a traceback, by its type and its frames.

What an exception says may quote a question, a document or a person, so it is left out, and so are local variables,
request bodies, headers and addresses. The request's id leads to the log.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from structlog.typing import EventDict, Processor, WrappedLogger

from app.errors import AnchorageError
from app.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

TAGS = ("request_id", "trace_id", "tenant", "job_id", "logger")


def open_reports(settings: Settings) -> Processor | None:
    """A processor that reports; None when nobody is to be told. Raises ConfigurationError."""
    if settings.sentry_dsn is None:
        return None
    # It takes half a second to load.
    import sentry_sdk

    sentry_sdk.init(
        settings.sentry_dsn.get_secret_value(),
        release=f"anchorage@{version('anchorage')}",
        environment=settings.app_env.value,
        # None of those that look at requests, logs and libraries by themselves.
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        server_name=settings.app_name,
        before_send=_without_words,
        shutdown_timeout=2,
    )
    return _report


def _report(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = _exception(event.get("exc_info"))
    # Those that are expected have causes of their own, and alerts.
    if error is not None and not isinstance(error, AnchorageError):
        import sentry_sdk

        with sentry_sdk.new_scope() as scope:
            scope.set_tag("event", str(event.get("event")))
            for name in TAGS:
                if event.get(name):
                    scope.set_tag(name, str(event[name]))
            sentry_sdk.capture_exception(error)
    return event


def _exception(info: Any) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        return info[1] if isinstance(info[1], BaseException) else None
    return sys.exc_info()[1] if info else None


def _without_words(event: Event, _hint: Hint) -> Event:
    for item in event.get("exception", {}).get("values", []):
        item["value"] = ""
    event.pop("extra", None)
    event.pop("modules", None)
    return event
