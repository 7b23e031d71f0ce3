"""``anchorage keys``: API keys, made and ended on the service's own host, in its database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.cli.connection import AsJson, say, say_json, say_table
from app.cli.operate import load_settings
from app.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from app.auth.keys import KeyInfo, Keyring, Scope

Result = TypeVar("Result")
keys = typer.Typer(help="API keys.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[list[str], typer.Option(help="query, ingest, admin or metrics; may be repeated.")],
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""

    async def create(keyring: Keyring) -> str:
        from app.db.bootstrap import DEFAULT_TENANT_ID

        return await keyring.create(DEFAULT_TENANT_ID, name, _scopes(scope))

    key = _with_keyring(create)
    if as_json:
        say_json({"key": key})
    else:
        say(key)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """All keys, by what is known of them; a key itself can't be read again."""

    async def found(keyring: Keyring) -> list[KeyInfo]:
        from app.db.bootstrap import DEFAULT_TENANT_ID

        return await keyring.known(DEFAULT_TENANT_ID)

    rows = [
        {
            "name": key.name,
            "prefix": key.prefix,
            "scopes": key.scopes if as_json else ",".join(key.scopes),
            "created_at": key.created_at.isoformat(timespec="seconds"),
            "state": key.state,
            "moved": key.moved if as_json else ("" if key.moved else "needs SECRET_KEY_OTHER until it is used"),
        }
        for key in _with_keyring(found)
    ]
    if as_json:
        say_json(rows)
    else:
        say_table(rows, ("name", "prefix", "scopes", "created_at", "state", "moved"))


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="The key's name; all keys of that name end.")], as_json: AsJson = False
) -> None:
    """End a key at once."""

    async def revoke(keyring: Keyring) -> int:
        from app.db.bootstrap import DEFAULT_TENANT_ID

        return await keyring.revoke(DEFAULT_TENANT_ID, name)

    ended = _with_keyring(revoke)
    if not ended:
        raise NotFoundError(f"There is no live key {name!r}. `anchorage keys list` shows all.")
    if as_json:
        say_json({"revoked": ended})
    else:
        say(f"revoked: {ended}")


@keys.command("ensure")
def ensure_key(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    key_file: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="File that holds the key.")],
    scope: Annotated[list[str] | None, typer.Option(help="As in create; all if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a key that was made elsewhere; a former one of the same name is revoked."""
    from app.auth.keys import Scope

    async def ensure(keyring: Keyring) -> bool:
        from app.db.bootstrap import DEFAULT_TENANT_ID

        scopes = _scopes(scope) if scope else frozenset(Scope)
        return await keyring.ensure(DEFAULT_TENANT_ID, name, key_file.read_text().strip(), scopes)

    created = _with_keyring(ensure)
    say(json.dumps({"created": created}) if as_json else ("registered" if created else "already there"))


def _scopes(names: list[str]) -> frozenset[Scope]:
    from app.auth.keys import Scope

    try:
        return frozenset(Scope(name) for name in names)
    except ValueError:
        raise ConfigurationError(f"Scopes are {', '.join(Scope)}; got {', '.join(names)}.") from None


def _with_keyring(action: Callable[[Keyring], Awaitable[Result]]) -> Result:
    from app.backends import open_database, open_keyring

    settings = load_settings()

    async def run() -> Result:
        database = open_database(settings)
        try:
            return await action(open_keyring(settings, database))
        finally:
            await database.close()

    return asyncio.run(run())
