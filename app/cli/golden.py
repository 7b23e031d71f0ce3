"""``anchorage golden``: questions whose citations are recorded, and compared after a restore."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connection import AsJson, say, say_json
from app.cli.operate import Result, load_settings, with_services

if TYPE_CHECKING:
    from app.evaluation.golden import Difference, Golden
    from app.services import Services

golden = typer.Typer(help="Questions that must cite the same after a restore.", no_args_is_help=True)


@golden.command("record")
def record(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where they are kept.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Take the newest questions that were answered from documents, ask them again, and keep what they cite."""
    from app.evaluation.golden import answered, asked_before, write

    async def ask(services: Services) -> list[Golden]:
        return await answered(services.pipeline, await asked_before(services.database, limit))

    questions = _asked(ask)
    write(file, questions)
    if as_json:
        say_json({"questions": len(questions)})
    elif questions:
        say(f"{len(questions)} questions, with what they cite: {file}")
    else:
        say("No questions: the query log holds none that was answered from documents (ENABLE_QUERY_LOGGING).")


@golden.command("check")
def check(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="What `record` kept.")], as_json: AsJson = False
) -> None:
    """Ask them again. Status 1 when one cites something else than before."""
    from app.evaluation.golden import compare, read

    questions = read(file)

    async def ask(services: Services) -> list[Difference]:
        return await compare(services.pipeline, questions)

    differences = _asked(ask)
    if as_json:
        say_json({"questions": len(questions), "differences": [asdict(one) for one in differences]})
    else:
        say(f"{len(questions) - len(differences)} of {len(questions)} questions cite the same as before")
        for one in differences:
            now = "its collection is gone" if one.found is None else f"now {', '.join(one.found) or 'nothing'}"
            say(f"  {one.collection}: {one.question}\n    cited {', '.join(one.expected)}; {now}")
    if differences:
        raise typer.Exit(1)


def _asked(ask: Callable[[Services], Awaitable[Result]]) -> Result:
    from app.telemetry.logs import configure_logs

    # These are no questions that somebody asks: nobody shall count them, or find them in a log or a trace.
    unseen = {"enable_query_logging": False, "enable_metrics": False, "otel_exporter_otlp_endpoint": None}
    settings = load_settings().model_copy(update={**unseen, "log_level": "ERROR"})
    configure_logs(settings)
    return with_services(settings, ask)
