"""Traces: what one request or job did, step by step. Off, a step costs a look at one variable.

Steps are recorded here, in plain objects; only of a trace that is worth keeping are OpenTelemetry's spans made, in the
exporter's thread. So the choice is made at a trace's end (sampling by its tail): with an error, or slow, it is kept,
and of the others a share. That share follows from the trace's id alone, by the rule of W3C's Trace Context level 2
(its last 56 bits are random), so that all processes that take part in a trace choose the same.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from app.errors import AnchorageError, DependencyUnavailableError

# A document of thousands of batches would otherwise make a span for each.
MAX_SPANS = 500
_RANDOM_BITS = 56
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
Attribute = str | int | float | bool


class Kind(StrEnum):
    """OpenTelemetry's kinds of spans."""

    SERVER = "SERVER"
    CONSUMER = "CONSUMER"
    CLIENT = "CLIENT"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a trace goes on from: hexadecimal, as W3C's ``traceparent`` writes them."""

    trace_id: str
    span_id: str | None = None

    @classmethod
    def read(cls, traceparent: str | None, request_id: str = "") -> Origin:
        """The caller's span; else the request's id, which nginx makes in the form of a trace's; else a new one."""
        if traceparent and (found := _TRACEPARENT.fullmatch(traceparent)):
            return cls(found.group(1), found.group(2))
        return cls(request_id if _TRACE_ID.fullmatch(request_id) else secrets.token_hex(16))


class Trace:
    """All spans of one request or job in this process. It is over when none of them is open any more."""

    __slots__ = ("_open", "closed", "dropped", "failed", "kept", "spans", "trace_id", "tracer")

    def __init__(self, tracer: Tracer, trace_id: str) -> None:
        self.tracer = tracer
        self.trace_id = trace_id
        self.spans: list[Span] = []
        self.dropped = 0
        self.failed = False
        self.closed = False
        # Known when it is closed.
        self.kept = False
        self._open = 0

    def begun(self) -> None:
        self._open += 1

    def ended(self, span: Span) -> None:
        if self.closed:
            return
        if len(self.spans) < MAX_SPANS or span.local_root:
            self.spans.append(span)
        else:
            self.dropped += 1
        self._open -= 1
        if self._open == 0:
            self.closed = True
            self.tracer.take(self)


class Span:
    """One step. As a context manager it is the parent of the steps within."""

    __slots__ = (
        *("_caller_id", "_id", "_start", "attributes", "error", "kind", "local_root", "name", "nanoseconds", "parent"),
        *("started_ns", "trace"),
    )

    def __init__(self, trace: Trace, parent: Span | None, caller_id: str | None, name: str, kind: Kind) -> None:
        self.trace = trace
        self.parent = parent
        self._caller_id = caller_id
        self.local_root = parent is None
        self._id = ""
        self.name = name
        self.kind = kind
        self.attributes: dict[str, Attribute] = {}
        self.error: str | None = None
        self.nanoseconds = 0
        self.started_ns = time.time_ns()
        self._start = time.perf_counter_ns()
        trace.begun()

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits, made when they are first asked for: most spans are never sent."""
        if not self._id:
            self._id = secrets.token_hex(8)
        return self._id

    @property
    def parent_id(self) -> str | None:
        """Of the step around it; of the first one, what the caller said."""
        return self._caller_id if self.parent is None else self.parent.span_id

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        """Add attributes, by OpenTelemetry's names where it has one."""
        self.attributes |= {name: value for name, value in attributes.items() if value is not None}

    def failed(self, error: BaseException | str) -> None:
        """Say that it went wrong; only the error's type is told: what it says may quote a question."""
        if isinstance(error, str):
            self.error = error
            self.trace.failed = True
            return
        self.attributes["error.type"] = error.code if isinstance(error, AnchorageError) else type(error).__name__
        if _is_fault(error):
            self.error = type(error).__name__
            self.trace.failed = True

    def end(self) -> None:
        """Say that it is over."""
        self.nanoseconds = time.perf_counter_ns() - self._start
        self.trace.ended(self)

    def __enter__(self) -> Self:
        _active.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not by a token: a generator may be closed in another context than it was begun in.
        _active.set(self.parent)
        if error is not None:
            self.failed(error)
        self.end()


class _Nothing:
    """Stands for a span where none is recorded."""

    __slots__ = ()

    def set(self, _: Mapping[str, Attribute | None]) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


Recording = Span | _Nothing
_NOTHING = _Nothing()
_active: ContextVar[Span | None] = ContextVar("active_span", default=None)


def span(name: str, kind: Kind = Kind.INTERNAL) -> Recording:
    """A step within the one that is under way; nothing where no trace is recorded."""
    parent = _active.get()
    if parent is None or parent.trace.closed:
        return _NOTHING
    return Span(parent.trace, parent, None, name, kind)


def describe(attributes: Mapping[str, Attribute | None]) -> None:
    """Add attributes to the span that is under way."""
    active = _active.get()
    if active is not None:
        active.set(attributes)


def traceparent() -> str | None:
    """The span that is under way, for work that goes on elsewhere."""
    active = _active.get()
    return None if active is None else f"00-{active.trace.trace_id}-{active.span_id}-00"


class Step:
    """One step of a question or a document: a span, and its milliseconds in ``timings``, added to what is there."""

    __slots__ = ("_name", "_span", "_start", "_timings")

    def __init__(self, name: str, timings: dict[str, float]) -> None:
        self._name = name
        self._timings = timings

    def __enter__(self) -> Recording:
        self._span = span(self._name)
        self._start = time.perf_counter()
        return self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        taken = (time.perf_counter() - self._start) * 1000
        self._timings[self._name] = self._timings.get(self._name, 0.0) + taken
        self._span.__exit__(kind, error, traceback)


class Tracer:
    """Begins traces, and chooses which are kept."""

    def __init__(self, ratio: float, slow_s: float, keep: Callable[[Trace], None]) -> None:
        """``ratio`` of the traces without fault are kept; ``keep`` must not block, and not raise."""
        self._share = int(ratio * (1 << _RANDOM_BITS))
        self._slow_ns = int(slow_s * 1e9)
        self._keep = keep

    def begin(self, name: str, origin: Origin, kind: Kind) -> Span:
        """The first span in this process."""
        return Span(Trace(self, origin.trace_id), None, origin.span_id, name, kind)

    def take(self, trace: Trace) -> None:
        """A trace is over."""
        slowest = max(item.nanoseconds for item in trace.spans if item.local_root)
        share = int(trace.trace_id[-_RANDOM_BITS // 4 :], 16) < self._share
        if trace.failed or slowest >= self._slow_ns or share:
            trace.kept = True
            self._keep(trace)


def _is_fault(error: BaseException) -> bool:
    """Whether the service is at fault, not the request; one that was cancelled is neither."""
    if not isinstance(error, Exception):
        return False
    return not isinstance(error, AnchorageError) or isinstance(error, DependencyUnavailableError)
