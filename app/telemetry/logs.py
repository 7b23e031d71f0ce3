"""Logs: one JSON object a line, whoever says it, with the names of the request on every line of a request.

Keys: ``timestamp``, ``level``, ``logger``, ``message``; where there is one ``request_id``, ``trace_id``, ``tenant``,
``key_id``, ``job_id``, ``query_hash``; then what the event has to say. docs/watching.md lists them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import lru_cache
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.settings import LogFormat, Settings
from app.telemetry.context import with_names
from app.telemetry.redaction import Redactor
from app.telemetry.reports import open_reports

# The servers bring handlers and forms of their own.
_SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error", "gunicorn.access")
# The service logs each request itself, with its id; these say the same again without it.
_NOISY = ("uvicorn.access", "gunicorn.access", "httpx", "alembic", "urllib3")
# Says of every batch that a collector does not take it; app.telemetry.otlp says it once.
_SILENT = "opentelemetry"


def configure_logs(settings: Settings) -> None:
    """Send structlog and the standard library's loggers to standard error in one form."""
    shared: list[Processor] = [
        with_names,
        structlog.processors.add_log_level,
        _stamped,
    ]
    if (report := open_reports(settings)) is not None:
        shared.append(report)
    last = _rendering(settings)
    level = logging.getLevelNamesMapping()[settings.log_level]
    structlog.configure(
        processors=[_named, *shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines.for_module,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries write whole requests at DEBUG, prompts among them.
    root.setLevel(max(level, logging.INFO))
    for name in _SERVERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(_SILENT).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


def _rendering(settings: Settings) -> list[Processor]:
    redactor = Redactor(settings)
    if settings.log_format is LogFormat.CONSOLE:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        return [redactor.over(console)]
    return [
        # As text in the one line, and without local variables: they hold keys and documents.
        structlog.processors.format_exc_info,
        _in_order,
        redactor.over(_as_json),
    ]


class _Lines:
    """Writes lines, for one module of the service."""

    def __init__(self, name: str, file: TextIO) -> None:
        self.name = name
        self._file = file

    @classmethod
    def for_module(cls, name: str = "app") -> _Lines:
        return cls(name, sys.stderr)

    def msg(self, line: str) -> None:
        """Write it at once, so that the lines of several processes don't mix."""
        self._file.write(line + "\n")
        self._file.flush()

    debug = info = warning = error = critical = exception = msg


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Half a surrogate pair, as in the name of a file that is not UTF-8; a number of more than 64 bits.
        return json.dumps(event, default=repr)


def _stamped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """RFC 3339, to the microsecond; structlog's own takes as long as all else of a line."""
    second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
    event["timestamp"] = f"{_date(second)}.{nanosecond // 1000:06}Z"
    return event


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What every line has comes first."""
    first = {"timestamp": event.pop("timestamp"), "level": event.pop("level"), "logger": event.pop("logger")}
    return {**first, "message": event.pop("event"), **event}


def _named(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event
