"""A circuit breaker: a provider that keeps failing is left alone for a while (Nygard 2007, "Release It!")."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Circuit(StrEnum):
    """``closed``: asked as usual. ``open``: left alone. ``half_open``: one question tries whether it is back."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """Opens after ``failures`` in a row, for ``rest_s`` seconds of ``clock``; then one question at a time may try."""

    def __init__(
        self,
        failures: int,
        rest_s: float,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Circuit], None] = lambda _: None,
    ) -> None:
        self._limit = failures
        self._rest_s = rest_s
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        self._rest_until: float | None = None
        self._probing = False

    @property
    def state(self) -> Circuit:
        if self._rest_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self.rest_s else Circuit.HALF_OPEN

    @property
    def rest_s(self) -> float:
        """Seconds until it may be tried again; 0 when it may be now."""
        return 0.0 if self._rest_until is None else max(0.0, self._rest_until - self._clock())

    @property
    def admits(self) -> bool:
        """Whether ``enter`` would let a question pass."""
        return self._rest_until is None or (self.rest_s == 0 and not self._probing)

    def enter(self) -> Permit | None:
        """The permit to ask, of which exactly one outcome must be told; None when it is to be left alone."""
        if not self.admits:
            return None
        probe = self._rest_until is not None
        if probe:
            self._probing = True
            self._on_change(Circuit.HALF_OPEN)
        return Permit(self, probe)

    def _settle(self, *, probe: bool, good: bool | None) -> None:
        if probe:
            self._probing = False
        if good:
            self._failures, self._rest_until = 0, None
        elif good is False:
            self._failures += 1
            if probe or self._failures >= self._limit:
                self._rest_until = self._clock() + self._rest_s
        self._on_change(self.state)


@dataclass(frozen=True, slots=True)
class Permit:
    """One question's leave to ask."""

    _breaker: Breaker
    _probe: bool

    def succeeded(self) -> None:
        """The provider answered."""
        self._breaker._settle(probe=self._probe, good=True)

    def failed(self) -> None:
        """It did not, by its own fault."""
        self._breaker._settle(probe=self._probe, good=False)

    def released(self) -> None:
        """Nothing was learned: the asker went away, or had asked for what can't be answered."""
        self._breaker._settle(probe=self._probe, good=None)
