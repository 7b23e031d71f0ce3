"""Documents: how many wait and how long, how far they come, and which were given up."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.panels import (
    COUNT,
    PER_SECOND,
    SECONDS,
    About,
    Panel,
    Query,
    lines,
    number,
)

# Steps take up to minutes and documents are few: rates over less would be full of holes.
WINDOW = "10m"


def board() -> Board:
    """From the upload to an answerable document."""
    return Board(
        "ingestion",
        "Documents",
        "The queue of documents on their way to being answerable: its age, its jobs, their steps and failures.",
        [
            Row("", [_oldest(), _given_up(), _waiting(), _running(), _accepted(), _worker()]),
            Row("Queue", [_age(), _jobs(), _turns(), _flow()]),
            Row("Steps", [_steps(0.5), _steps(0.95), _embedding(), _errors()]),
        ],
    )


# The queue is one, in the database; every process of the service tells of it.
def _oldest() -> Panel:
    about = About("Oldest waits", "How long the first job that may run has waited.", SECONDS, alerts=["QueueWaits"])
    return number(about, Query("max(anchorage_queue_oldest_seconds)"))


def _given_up() -> Panel:
    about = About(
        "Given up", "Jobs that failed for good; their documents are not found.", COUNT, alerts=["DeadLetters"]
    )
    return number(about, Query("max(anchorage_dead_letters)"))


def _waiting() -> Panel:
    return number(About("Waiting", "Jobs in the queue.", COUNT), Query('max(anchorage_ingestion_jobs{state="queued"})'))


def _running() -> Panel:
    return number(
        About("Running", "Jobs that a worker holds.", COUNT), Query('max(anchorage_ingestion_jobs{state="running"})')
    )


def _accepted() -> Panel:
    about = About("Accepted in 24 hours", "Documents that were uploaded and acknowledged.", COUNT)
    return number(about, Query("sum(increase(anchorage_documents_accepted_total[1d])) or vector(0)", now=True))


def _worker() -> Panel:
    about = About("Workers", "How many run.", COUNT, runbooks=["WorkerDown"], bad_below=1, more="hosts")
    return number(about, Query('sum(up{job="worker"})'))


def _age() -> Panel:
    about = About("Age of the queue", "How long the first job that may run has waited.", SECONDS, alerts=["QueueWaits"])
    return lines(about, Query("max(anchorage_queue_oldest_seconds)", "oldest"))


def _jobs() -> Panel:
    about = About(
        "Jobs by state",
        "failed ones are those that were given up, and wait for somebody.",
        COUNT,
        runbooks=["DeadLetters"],
    )
    states_ = 'state!~"succeeded|cancelled"'
    return lines(about, Query(f"max by (state) (anchorage_ingestion_jobs{{{states_}}})", "{{state}}"), stacked=True)


def _turns() -> Panel:
    about = About(
        "Turns that ended", "succeeded, cancelled, postponed (tried again later) or failed (given up).", PER_SECOND
    )
    return lines(
        about, Query(f"sum by (outcome) (rate(anchorage_jobs_finished_total[{WINDOW}]))", "{{outcome}}"), stacked=True
    )


def _flow() -> Panel:
    about = About(
        "In and out",
        "Documents accepted against jobs that succeeded: where the first stays above, the queue grows.",
        PER_SECOND,
    )
    return lines(
        about,
        Query(f"sum(rate(anchorage_documents_accepted_total[{WINDOW}]))", "accepted"),
        Query(f'sum(rate(anchorage_jobs_finished_total{{outcome="succeeded"}}[{WINDOW}]))', "succeeded"),
    )


def _steps(q: float) -> Panel:
    about = About(
        f"p{q * 100:g} of each step", "Of steps that were done: parse, chunk, embed, write, show, remove.", SECONDS
    )
    buckets = f"sum by (step, le) (rate(anchorage_ingestion_step_duration_seconds_bucket[{WINDOW}]))"
    return lines(about, Query(f"histogram_quantile({q}, {buckets})", "{{step}}"))


def _embedding() -> Panel:
    about = About("One call for vectors", "p50 and p95 of a batch of chunks.", SECONDS)
    buckets = f'sum by (le) (rate(anchorage_embedding_duration_seconds_bucket{{kind="documents"}}[{WINDOW}]))'
    return lines(about, *(Query(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.95)))


def _errors() -> Panel:
    about = About("Errors of the worker", "By the stable code of the problem.", PER_SECOND, runbooks=["DeadLetters"])
    # Where nothing ever failed there is no series: that is 0, not unknown.
    failed = f'sum by (kind) (rate(anchorage_errors_total{{job="worker"}}[{WINDOW}]))'
    return lines(
        about, Query(f'{failed} or label_replace(vector(0), "kind", "none", "", "")', "{{kind}}"), stacked=True
    )
