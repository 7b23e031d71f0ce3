"""``anchorage recover``: documents out of a restored copy of the database, into the one that serves."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from pydantic import SecretStr

from app.cli.connection import AsJson, say, say_json
from app.cli.operate import load_settings
from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.ingest.recover import Outcome
    from app.settings import Settings


def recover(
    source: Annotated[
        str, typer.Option("--from", envvar="RECOVER_DATABASE_URL", help="The copy, as DATABASE_URL has it.")
    ],
    document: Annotated[UUID | None, typer.Option(help="The id of one document.")] = None,
    collection: Annotated[str | None, typer.Option(help="All documents of a collection.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose collection.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Bring a document or a collection back from a restored copy; whatever came later stays.

    Workers make them answerable, as they do an upload. Run again after it was broken off, it goes on.
    """
    if (document is None) == (collection is None):
        raise ConfigurationError("Name what to bring back: --document ID or --collection NAME.")
    outcomes = asyncio.run(_recover(load_settings(), source, document, collection, tenant))
    if as_json:
        say_json(dict(outcomes))
    else:
        say(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "The copy has no such documents.")


async def _recover(
    settings: Settings, source: str, document: UUID | None, collection: str | None, tenant: str
) -> Counter[Outcome]:
    from app.backends import open_database
    from app.db.session import Database
    from app.ingest.recover import recover_collection, recover_document

    # The copy's address is whole: the password of the one that serves is not its.
    own = {"database_url": SecretStr(source), "database_password": None}
    copy, live = Database(settings.model_copy(update=own).sqlalchemy_url, 1), open_database(settings, 1)
    try:
        if document is not None:
            return Counter([await recover_document(copy, live, document)])
        return await recover_collection(copy, live, tenant, collection or "")
    finally:
        await copy.close()
        await live.close()
