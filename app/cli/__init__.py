"""The ``anchorage`` command. What each verb needs is loaded by the verb, so that help is instant."""

from __future__ import annotations

import sys

import typer

from app.cli import asking, evaluate, golden, ingesting, keys, operate, recover, resources
from app.errors import AnchorageError

application = typer.Typer(
    help="Answers with citations from your own documents.", no_args_is_help=True, pretty_exceptions_enable=False
)
for _verb in (operate.serve, operate.worker, operate.migrate, operate.doctor, operate.reindex, recover.recover):
    application.command()(_verb)
for _name, _asking in (("ingest", ingesting.ingest), ("ask", asking.ask), ("search", asking.search)):
    application.command(_name)(_asking)
application.command("eval")(evaluate.evaluate)
for _name, _group in (
    ("collections", resources.collections),
    ("documents", resources.documents),
    ("jobs", resources.jobs),
    ("cache", resources.cache),
    ("sessions", resources.sessions),
    ("keys", keys.keys),
    ("golden", golden.golden),
):
    application.add_typer(_group, name=_name)


def main() -> None:
    """Run a verb; an expected failure is one line and status 1."""
    try:
        application()
    except AnchorageError as error:
        print(f"anchorage: {error.detail}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
