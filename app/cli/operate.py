"""Verbs of the operator: they read the service's settings and touch its database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.cli.diagnosis import Finding
    from app.services import Services
    from app.settings import Settings

Result = TypeVar("Result")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def load_settings() -> Settings:
    """The settings, or one line that names the variable that is wrong."""
    from app.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(p) for p in e['loc']).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"The settings can't be used. {wrong}") from None


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Run the service and its worker in one process, with nothing installed beside it."""
    import uvicorn

    from app.main import create_app
    from app.settings import LogFormat
    from app.telemetry.logs import configure_logs

    settings = load_settings()
    if sys.stderr.isatty():
        settings = settings.model_copy(update={"log_format": LogFormat.CONSOLE})
    configure_logs(settings)
    if settings.embedded:
        key_file = asyncio.run(_first_key(settings))
        print(  # noqa: T201
            f"Anchorage at http://{host}:{port}  (API key: {key_file})\n"
            f"  anchorage ingest FOLDER    make your documents answerable\n"
            f"  anchorage ask QUESTION     an answer with its sources",
            flush=True,
        )
    uvicorn.run(create_app(settings), host=host, port=port, log_config=None, access_log=False)


async def _first_key(settings: Settings) -> Path:
    """Make a key for this machine's user at the first start; ``anchorage ask`` and ``ingest`` read it."""
    from app.auth.keys import Scope
    from app.backends import open_database, open_keyring
    from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap
    from app.db.migrate import migrate as upgrade
    from app.providers.embedding import identity_of

    file = settings.data_dir / "api-key"
    if not file.exists():
        database = open_database(settings)
        await upgrade(database)
        await bootstrap(database, identity_of(settings))
        key = await open_keyring(settings, database).create(DEFAULT_TENANT_ID, "owner", frozenset(Scope))
        await database.close()
        with os.fdopen(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as handle:
            handle.write(key + "\n")
    return file


def worker() -> None:
    """Make accepted documents answerable, until told to stop."""
    from app.telemetry.logs import configure_logs

    settings = load_settings()
    configure_logs(settings)

    async def work(services: Services) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, services.worker.stop)
        async with _metrics_served(services):
            await services.worker.run()

    with_services(settings, work)


@asynccontextmanager
async def _metrics_served(services: Services) -> AsyncIterator[None]:
    from app.state import measured
    from app.telemetry.exposition import render
    from app.telemetry.serving import serving

    settings = services.settings
    if not settings.worker_metrics_port or not settings.enable_metrics:
        yield
        return

    async def rendered(accept: str) -> tuple[bytes, str]:
        read = await measured(services.parts, settings.metrics_namespace, settings.app_colour)
        return render(services.metrics, read, accept)

    async with serving(settings.worker_metrics_port, rendered):
        yield


def migrate(
    admin_key_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with a key that was made elsewhere: it becomes the admin's, and a former one is revoked.",
        ),
    ] = None,
    monitoring_key_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="The same for the probe that asks questions, and may only that."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database to this release's schema, and make the default collection."""
    from app.auth.keys import Scope
    from app.backends import open_database, open_keyring
    from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap
    from app.db.migrate import migrate as upgrade
    from app.providers.embedding import identity_of

    settings = load_settings()
    keys = (
        ("admin", admin_key_file, frozenset(Scope)),
        ("monitoring", monitoring_key_file, frozenset({Scope.QUERY})),
    )

    async def run() -> dict[str, Any]:
        database = open_database(settings)
        try:
            applied = await upgrade(database)
            await bootstrap(database, identity_of(settings))
            keyring, registered = open_keyring(settings, database), False
            for name, file, scopes in keys:
                if file is not None:
                    registered |= await keyring.ensure(DEFAULT_TENANT_ID, name, file.read_text().strip(), scopes)
            return {"applied": applied, "key_registered": registered}
        finally:
            await database.close()

    done = asyncio.run(run())
    if as_json:
        print(json.dumps(done))  # noqa: T201
        return
    print(f"Applied: {', '.join(done['applied']) or 'nothing was missing'}")  # noqa: T201
    if admin_key_file is not None or monitoring_key_file is not None:
        print("The keys given are " + ("registered." if done["key_registered"] else "there already."))  # noqa: T201


def reindex(
    check: Annotated[bool, typer.Option(help="Only compare with the database, and mend what differs.")] = False,
    rechunk: Annotated[
        bool, typer.Option(help="Have the workers cut and embed every document anew, as after a change of chunk sizes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the vector index anew from the database, beside the one that serves, and put it into its place.

    Also for another embedding model: run it with the new settings before the service starts with them.
    """
    from rich.console import Console
    from rich.progress import Progress

    from app.services import open_reindexer

    if check and rechunk:
        raise ConfigurationError("--check mends the index as it is, --rechunk makes its documents anew: choose one.")
    settings = load_settings()

    async def run() -> dict[str, int]:
        async with open_reindexer(settings) as reindexer:
            if check:
                return asdict(await reindexer.repair())
            if rechunk:
                return {"documents": await reindexer.rechunk()}
            with Progress(console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task("chunks", total=None)
                return {"chunks": await reindexer.rebuild(lambda done, of: bar.update(task, completed=done, total=of))}

    done = asyncio.run(run())
    if as_json:
        print(json.dumps(done))  # noqa: T201
    else:
        print(", ".join(f"{count} {what}" for what, count in done.items()))  # noqa: T201


def doctor(as_json: AsJson = False) -> None:
    """The state of everything on one screen: what is wrong, why, and the cure. Status 1 when something failed."""
    from app.cli.diagnosis import State, diagnose, unusable

    try:
        findings = asyncio.run(diagnose(load_settings()))
    except ConfigurationError as error:
        findings = unusable(error)
    well = all(finding.state is not State.FAILED for finding in findings)
    if as_json:
        print(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}))  # noqa: T201
    else:
        _show(findings)
    if not well:
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        said = Text(finding.detail)
        if finding.cure is not None:
            said.append(f"\n→ {finding.cure}", style=colours[finding.state])
        table.add_row(Text(finding.state, style=colours[finding.state]), Text(finding.name, style="bold"), said)
    Console().print(table)


def with_services(settings: Settings, action: Callable[[Services], Awaitable[Result]]) -> Result:
    """What the action returns, done with the service's parts, which are opened for it and closed after it."""
    from app.services import open_services
    from app.telemetry.metrics import Metrics
    from app.telemetry.otlp import open_tracer

    async def run() -> Result:
        metrics = Metrics(settings.metrics_namespace, enabled=settings.enable_metrics)
        traced = open_tracer(settings, "worker", metrics)
        services = await open_services(settings, metrics, tracer=traced[0] if traced is not None else None)
        try:
            return await action(services)
        finally:
            await services.close()
            if traced is not None:
                traced[1].close()

    return asyncio.run(run())
