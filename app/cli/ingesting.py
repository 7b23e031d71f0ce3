"""``anchorage ingest``: files, folders, zips and addresses, until they are answerable."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import Progress

from app.cli.connection import AsJson, checked, complain, connected, detail, request, say, say_json
from app.errors import ConfigurationError
from app.ingest.media import BY_SUFFIX

SUFFIXES = frozenset({*BY_SUFFIX, ".zip"})
POLL_SECONDS = 0.2
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(slots=True)
class Outcome:
    """What became of each document, and the jobs that are waited for (job to source)."""

    ready: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)

    def add(self, source: str, accepted: dict[str, Any]) -> None:
        """Take down an upload that was accepted, or there already."""
        if not accepted["created"] and accepted["document"]["ready"]:
            self.present.append(source)
        elif accepted["job_id"] is None:
            self.fail(source, "it was there already and is not answerable")
        else:
            self.waiting[accepted["job_id"]] = source

    def fail(self, source: str, reason: str) -> None:
        """Take down one that was refused, or could not be worked on."""
        self.failed.append({"source": source, "detail": reason})


@connected
def ingest(
    client: httpx.Client,
    paths: Annotated[list[str], typer.Argument(help="Files, folders, zips and addresses (https://…).")],
    collection: Annotated[str | None, typer.Option(help="Into which collection.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object that is put to each document.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until all are answerable.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Upload documents and wait until they are answerable. Run again, it skips what is there."""
    fields = _fields(collection, metadata)
    items = list(_items(paths))
    if not items:
        raise ConfigurationError(f"No documents there: looked for {' '.join(sorted(SUFFIXES))}.")
    outcome = Outcome()
    with Progress(disable=as_json) as progress:
        sending = progress.add_task("uploading", total=len(items))
        for source, item in items:
            _send(client, source, item, fields, outcome)
            progress.advance(sending)
        working = progress.add_task("indexing", total=len(outcome.waiting))
        deadline = time.monotonic() + timeout
        while outcome.waiting and time.monotonic() < deadline:
            if _settle_first(client, outcome):
                progress.advance(working)
            else:
                time.sleep(POLL_SECONDS)
    for source in outcome.waiting.values():
        outcome.fail(source, "still being worked on")
    _tell(outcome, as_json=as_json)
    if outcome.failed:
        raise typer.Exit(1)


def _fields(collection: str | None, metadata: str | None) -> dict[str, Any]:
    try:
        read = json.loads(metadata) if metadata is not None else None
    except ValueError as error:
        raise ConfigurationError(f"--metadata is no JSON ({error}).") from None
    return {name: value for name, value in (("collection", collection), ("metadata", read)) if value is not None}


def _items(paths: list[str]) -> Iterator[tuple[str, Path | str]]:
    """Each file with the source it is known by, its path below the folder that was named; addresses as they are.

    Hidden files are left out.
    """
    for text in paths:
        path = Path(text)
        if text.startswith(("https://", "http://")):
            yield text, text
        elif path.is_file():
            yield path.name, path
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                inside = file.relative_to(path)
                hidden = any(part.startswith(".") for part in inside.parts)
                if file.is_file() and not hidden and file.suffix.lower() in SUFFIXES:
                    yield str(inside), file
        else:
            raise ConfigurationError(f"There is no file, folder or address {text!r}.")


def _send(client: httpx.Client, source: str, item: Path | str, fields: dict[str, Any], outcome: Outcome) -> None:
    if isinstance(item, str):
        response = request(client, "POST", "/documents", json={"url": item, **fields})
    else:
        content = item.read_bytes()
        if (present := _present(client, source, content, fields)) is not None:
            outcome.add(source, present)
            return
        sent = {"file": (item.name, content, "application/octet-stream")}
        form = {**fields, "metadata": json.dumps(fields["metadata"])} if "metadata" in fields else fields
        response = request(client, "POST", "/documents", files=sent, data={"source": source, **form})
    if response.status_code in (401, 403):
        checked(response)
    if response.is_error:
        outcome.fail(source, detail(response))
        return
    answer = response.json()
    for one in answer.get("outcomes", [{"source": source, "accepted": answer, "problem": None}]):
        if one["accepted"] is None:
            outcome.fail(one["source"], one["problem"]["detail"])
        else:
            outcome.add(one["source"], one["accepted"])


def _present(client: httpx.Client, source: str, content: bytes, fields: dict[str, Any]) -> dict[str, Any] | None:
    """What the service has of these bytes, asked by their hash so that they need not be sent again."""
    query = {"source": source, "sha256": hashlib.sha256(content).hexdigest()}
    if "collection" in fields:
        query["collection"] = fields["collection"]
    response = request(client, "GET", "/documents", params=query)
    found = response.json()["documents"] if response.is_success else []
    if not found or ("metadata" in fields and found[0]["newest_version"]["metadata"] != fields["metadata"]):
        return None
    ready = found[0]["ready"] and found[0]["newest_version"]["state"] == "ready"
    return {"document": found[0], "job_id": None, "created": False} if ready else None


def _settle_first(client: httpx.Client, outcome: Outcome) -> bool:
    """Whether the job that has waited longest has ended; the others come behind it."""
    job_id, source = next(iter(outcome.waiting.items()))
    job = checked(request(client, "GET", f"/jobs/{job_id}")).json()
    if job["state"] not in ENDED:
        return False
    del outcome.waiting[job_id]
    if job["state"] == "succeeded":
        outcome.ready.append(source)
    else:
        outcome.fail(source, job["error_detail"] or job["state"])
    return True


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        say_json({"ready": outcome.ready, "present": outcome.present, "failed": outcome.failed})
        return
    for failure in outcome.failed:
        complain(f"failed: {failure['source']}: {failure['detail']}")
    counts = (len(outcome.ready), len(outcome.present), len(outcome.failed))
    say("{} answerable, {} were there already, {} failed".format(*counts))
