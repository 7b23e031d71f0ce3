"""Verbs that look at the service's resources and change them: collections, documents, jobs, cache, sessions."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer

from app.cli.connection import AsJson, asked, connected, say, say_json, say_table
from app.errors import ConfigurationError

collections = typer.Typer(help="Collections: sets of documents that are asked together.", no_args_is_help=True)
documents = typer.Typer(help="Documents.", no_args_is_help=True)
jobs = typer.Typer(help="The work on documents.", no_args_is_help=True)
cache = typer.Typer(help="The answer cache.", no_args_is_help=True)
sessions = typer.Typer(help="Conversations.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The collection's name.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many.")]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="NAME=VALUE: description, chunk_tokens, chunk_overlap_tokens, strategy, top_k, threshold or rerank; "
        "an empty value follows the service. May be repeated.",
    ),
]


@collections.command("list")
@connected
def list_collections(client: httpx.Client, as_json: AsJson = False) -> None:
    """All collections, with how many documents each has."""
    found = asked(client, "GET", "/collections")["collections"]
    _tell(found, ("name", "documents", "chunk_tokens", "strategy", "top_k", "description"), as_json=as_json)


@collections.command("show")
@connected
def show_collection(client: httpx.Client, name: Name, as_json: AsJson = False) -> None:
    """One collection with its settings."""
    _tell_one(asked(client, "GET", f"/collections/{name}"), as_json=as_json)


@collections.command("create")
@connected
def create_collection(client: httpx.Client, name: Name, settings: Setting = None, as_json: AsJson = False) -> None:
    """Make an empty collection."""
    _tell_one(asked(client, "POST", "/collections", json={"name": name, **_settings(settings)}), as_json=as_json)


@collections.command("change")
@connected
def change_collection(client: httpx.Client, name: Name, settings: Setting = None, as_json: AsJson = False) -> None:
    """Change a collection's settings."""
    _tell_one(asked(client, "PATCH", f"/collections/{name}", json=_settings(settings)), as_json=as_json)


@collections.command("delete")
@connected
def delete_collection(
    client: httpx.Client,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a collection with all its documents, from every answer at once."""
    if not yes:
        typer.confirm(f"Delete {name!r} with all its documents?", abort=True)
    _tell_one(asked(client, "DELETE", f"/collections/{name}"), as_json=as_json)


@documents.command("list")
@connected
def list_documents(
    client: httpx.Client,
    collection: Annotated[str | None, typer.Option(help="Of which collection.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Documents, newest first."""
    query = {"limit": limit} | ({"collection": collection} if collection else {})
    found = asked(client, "GET", "/documents", params=query)["documents"]
    _tell(found, ("id", "ready", "title", "source"), as_json=as_json)


@documents.command("delete")
@connected
def delete_document(client: httpx.Client, document_id: str, as_json: AsJson = False) -> None:
    """Delete a document, from every answer at once."""
    _tell_one(asked(client, "DELETE", f"/documents/{document_id}"), as_json=as_json)


@jobs.command("list")
@connected
def list_jobs(
    client: httpx.Client,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed or cancelled.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Jobs, newest first."""
    query = {"limit": limit} | ({"state": state} if state else {})
    found = asked(client, "GET", "/jobs", params=query)["jobs"]
    _tell(found, ("id", "kind", "state", "stage", "attempts", "error_detail"), as_json=as_json)


@jobs.command("show")
@connected
def show_job(client: httpx.Client, job_id: str, as_json: AsJson = False) -> None:
    """How far a job is, and why it was retried or failed."""
    _tell_one(asked(client, "GET", f"/jobs/{job_id}"), as_json=as_json)


@jobs.command("cancel")
@connected
def cancel_job(client: httpx.Client, job_id: str, as_json: AsJson = False) -> None:
    """End a job; what it has written is removed."""
    _tell_one(asked(client, "POST", f"/jobs/{job_id}/cancel"), as_json=as_json)


@jobs.command("retry")
@connected
def retry_job(client: httpx.Client, job_id: str, as_json: AsJson = False) -> None:
    """Do a failed or cancelled job again, from the last stage that was done."""
    _tell_one(asked(client, "POST", f"/jobs/{job_id}/retry"), as_json=as_json)


@cache.command("stats")
@connected
def cache_stats(
    client: httpx.Client,
    hours: Annotated[int, typer.Option(min=1, help="Of the last so many hours.")] = 24,
    as_json: AsJson = False,
) -> None:
    """How often the cache answered."""
    _tell_one(asked(client, "GET", "/cache/stats", params={"hours": hours}), as_json=as_json)


@cache.command("clear")
@connected
def clear_cache(
    client: httpx.Client,
    collection: Annotated[str | None, typer.Option(help="Of which collection; all if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Serve no answer from the cache that is in it now."""
    query = {"collection": collection} if collection else {}
    _tell_one(asked(client, "DELETE", "/cache", params=query), as_json=as_json)


@sessions.command("show")
@connected
def show_session(client: httpx.Client, session_id: str, as_json: AsJson = False) -> None:
    """What was said in a session."""
    found = asked(client, "GET", f"/sessions/{session_id}")
    if as_json:
        say_json(found)
        return
    for turn in found["turns"]:
        say(f"> {turn['question']}\n{turn['answer']}\n")


@sessions.command("delete")
@connected
def delete_session(client: httpx.Client, session_id: str, as_json: AsJson = False) -> None:
    """End a session; all that was said in it is removed."""
    asked(client, "DELETE", f"/sessions/{session_id}")
    _tell_one({"deleted": session_id}, as_json=as_json)


def _settings(given: list[str] | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for item in given or []:
        name, separator, value = item.partition("=")
        if not separator:
            raise ConfigurationError(f"--set takes NAME=VALUE, not {item!r}.")
        settings[name] = _value(name, value)
    return settings


def _value(name: str, text: str) -> Any:
    """Numbers and booleans as such; a description is text, whatever it looks like."""
    if name == "description":
        return text
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _tell(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        say_json(rows)
    else:
        say_table(rows, columns)


def _tell_one(item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(item)
        return
    for name, value in item.items():
        say(f"{name}: {'-' if value is None else value}")
