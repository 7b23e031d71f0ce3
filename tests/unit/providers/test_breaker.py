"""The circuit breaker, on a clock that the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.providers.breaker import Breaker, Circuit, Permit

REST_S = 30.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entered(breaker: Breaker) -> Permit:
    permit = breaker.enter()
    assert permit is not None
    return permit


def state_of(breaker: Breaker) -> Circuit:
    """Behind a call, so that no type checker takes it for unchanging."""
    return breaker.state


def opened(failures: int = 3) -> tuple[Breaker, Clock, list[Circuit]]:
    clock, told = Clock(), list[Circuit]()
    breaker = Breaker(failures, REST_S, clock, told.append)
    for _ in range(failures):
        entered(breaker).failed()
    return breaker, clock, told


def test_it_opens_after_failures_in_a_row_and_only_then() -> None:
    breaker = Breaker(3, REST_S, Clock())
    for outcome in (Permit.failed, Permit.failed, Permit.succeeded, Permit.failed, Permit.failed):
        outcome(entered(breaker))
    assert state_of(breaker) is Circuit.CLOSED
    entered(breaker).failed()
    assert (state_of(breaker), breaker.rest_s) == (Circuit.OPEN, REST_S)
    assert breaker.enter() is None


def test_after_its_rest_one_question_tries_and_its_outcome_decides() -> None:
    breaker, clock, told = opened()
    clock.now = REST_S
    assert state_of(breaker) is Circuit.HALF_OPEN
    probe = entered(breaker)
    assert breaker.enter() is None
    probe.failed()
    assert (state_of(breaker), breaker.rest_s) == (Circuit.OPEN, REST_S)
    clock.now = 2 * REST_S
    entered(breaker).succeeded()
    assert state_of(breaker) is Circuit.CLOSED
    assert told[-4:] == [Circuit.HALF_OPEN, Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED]


def test_a_try_that_teaches_nothing_leaves_the_next_one_free() -> None:
    breaker, clock, _ = opened()
    clock.now = REST_S
    entered(breaker).released()
    assert state_of(breaker) is Circuit.HALF_OPEN
    entered(breaker).succeeded()
    assert state_of(breaker) is Circuit.CLOSED


def test_who_asked_before_it_opened_does_not_free_the_place_of_the_try() -> None:
    breaker = Breaker(1, REST_S, clock := Clock())
    early = entered(breaker)
    entered(breaker).failed()
    clock.now = REST_S
    probe = entered(breaker)
    early.released()
    assert breaker.enter() is None
    probe.succeeded()
    assert breaker.admits


@given(st.lists(st.sampled_from(["ask", "good", "bad", "gone", "wait"]), max_size=60), st.integers(1, 4))
def test_whatever_happens_at_most_one_tries_and_it_never_stays_shut(steps: list[str], failures: int) -> None:
    clock = Clock()
    breaker = Breaker(failures, REST_S, clock)
    open_permits: list[tuple[Permit, bool]] = []
    for step in steps:
        if step == "wait":
            clock.now += REST_S / 2
        elif step == "ask":
            trial = breaker.state is not Circuit.CLOSED
            if (permit := breaker.enter()) is not None:
                open_permits.append((permit, trial))
        elif open_permits:
            permit, _ = open_permits.pop(0)
            {"good": permit.succeeded, "bad": permit.failed, "gone": permit.released}[step]()
        assert sum(trial for _, trial in open_permits) <= 1 or breaker.state is Circuit.CLOSED
    for permit, _ in open_permits:
        permit.released()
    clock.now += REST_S
    assert breaker.admits
