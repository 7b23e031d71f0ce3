"""The ``anchorage`` command. What each verb needs is loaded by the verb, so that help is instant."""

from __future__ import annotations

import sys

import typer

from app.cli import client, evaluate, operate
from app.errors import AnchorageError

application = typer.Typer(
    help="Answers with citations from your own documents.", no_args_is_help=True, pretty_exceptions_enable=False
)
for _verb in (
    *(operate.serve, operate.worker, operate.migrate, operate.doctor, operate.reindex),
    *(client.ingest, client.ask),
):
    application.command()(_verb)
application.command("eval")(evaluate.evaluate)
application.add_typer(operate.keys, name="keys")


def main() -> None:
    """Run a verb; an expected failure is one line and status 1."""
    try:
        application()
    except AnchorageError as error:
        print(f"anchorage: {error.detail}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
