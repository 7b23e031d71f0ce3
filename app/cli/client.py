"""Verbs of those who use the service: they speak HTTP, to this machine or to any other."""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from app.errors import ConfigurationError, DependencyUnavailableError
from app.ingest.media import BY_SUFFIX

Url = Annotated[str, typer.Option(envvar="ANCHORAGE_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option("--api-key", envvar="ANCHORAGE_API_KEY", help="An API key.")]
KeyFile = Annotated[Path | None, typer.Option("--api-key-file", help="A file that holds the key.")]
CaFile = Annotated[Path | None, typer.Option(envvar="ANCHORAGE_CA_FILE", help="The CA to trust.", exists=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
LOCAL = "http://127.0.0.1:8080"


def ingest(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files and folders.")],
    url: Url = LOCAL,
    api_key: Key = None,
    api_key_file: KeyFile = None,
    ca_file: CaFile = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until all are answerable.")] = 600,
    as_json: AsJson = False,
) -> None:
    """Upload documents and wait until they are answerable. What is there already is not sent twice into the index."""
    from rich.progress import Progress

    files = list(_documents(paths))
    if not files:
        raise ConfigurationError(f"No documents there: looked for {' '.join(BY_SUFFIX)}.")
    outcome: dict[str, list[Any]] = {"ready": [], "present": [], "failed": []}
    waiting: dict[str, str] = {}
    with _client(url, api_key, api_key_file, ca_file) as client, Progress(disable=as_json) as progress:
        sending = progress.add_task("uploading", total=len(files))
        for source, file in files:
            _send(client, source, file, waiting, outcome)
            progress.advance(sending)
        working = progress.add_task("indexing", total=len(waiting))
        deadline = time.monotonic() + timeout
        while waiting and time.monotonic() < deadline:
            for job_id in list(waiting):
                if _settled(client, job_id, waiting, outcome):
                    progress.advance(working)
                else:
                    break
            time.sleep(0.2 if waiting else 0)
    outcome["failed"] += [{"source": source, "detail": "still being worked on"} for source in waiting.values()]
    _tell_ingest(outcome, as_json=as_json)
    if outcome["failed"]:
        raise typer.Exit(1)


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    url: Url = LOCAL,
    api_key: Key = None,
    api_key_file: KeyFile = None,
    ca_file: CaFile = None,
    provider: Annotated[str | None, typer.Option(help="Who writes the answer.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question; prints the answer and its sources."""
    body: dict[str, Any] = {"query": question}
    if provider:
        body["provider"] = provider
    with _client(url, api_key, api_key_file, ca_file) as client:
        answer = _checked(_request(client, "POST", "/api/v1/query", json=body)).json()
    if as_json:
        print(json.dumps(answer))  # noqa: T201
        return
    print(answer["answer"])  # noqa: T201
    for citation in answer["citations"]:
        page = f", page {citation['page']}" if citation["page"] else ""
        print(f"  [{citation['number']}] {citation['title']} ({citation['source']}{page})")  # noqa: T201


def _documents(paths: list[Path]) -> Iterator[tuple[str, Path]]:
    """Each file with the source it is known by, its path below the folder that was named. Hidden ones are left."""
    for path in paths:
        if path.is_file():
            yield path.name, path
            continue
        for file in sorted(path.rglob("*")):
            inside = file.relative_to(path)
            hidden = any(part.startswith(".") for part in inside.parts)
            if file.is_file() and not hidden and file.suffix.lower() in BY_SUFFIX:
                yield str(inside), file


def _send(
    client: httpx.Client, source: str, file: Path, waiting: dict[str, str], outcome: dict[str, list[Any]]
) -> None:
    with file.open("rb") as handle:
        sent = {"file": (file.name, handle, "application/octet-stream")}
        response = _request(client, "POST", "/api/v1/documents", files=sent, data={"source": source})
    if response.status_code in (401, 403):
        _checked(response)
    if response.is_error:
        outcome["failed"].append({"source": source, "detail": _detail(response)})
        return
    answer = response.json()
    if not answer["created"] and answer["document"]["ready"]:
        outcome["present"].append(source)
    else:
        waiting[answer["job_id"]] = source


def _settled(client: httpx.Client, job_id: str, waiting: dict[str, str], outcome: dict[str, list[Any]]) -> bool:
    job = _checked(_request(client, "GET", f"/api/v1/jobs/{job_id}")).json()
    if job["state"] not in ("succeeded", "failed"):
        return False
    source = waiting.pop(job_id)
    if job["state"] == "succeeded":
        outcome["ready"].append(source)
    else:
        outcome["failed"].append({"source": source, "detail": job["error_detail"]})
    return True


def _tell_ingest(outcome: dict[str, list[Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome))  # noqa: T201
        return
    for failure in outcome["failed"]:
        print(f"failed: {failure['source']}: {failure['detail']}", file=sys.stderr)  # noqa: T201
    counts = (len(outcome["ready"]), len(outcome["present"]), len(outcome["failed"]))
    print("{} answerable, {} were there already, {} failed".format(*counts))  # noqa: T201


def _client(url: str, key: str | None, key_file: Path | None, ca_file: Path | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {api_key_of(key, key_file)}"}
    timeout = httpx.Timeout(120, connect=5)
    return httpx.Client(base_url=url, headers=headers, verify=trust_of(ca_file), timeout=timeout)


def api_key_of(key: str | None, key_file: Path | None) -> str:
    """The key that was given, or that of the file, or `anchorage serve`'s own. Raises ConfigurationError."""
    if key is not None:
        return key
    file = key_file or Path(os.environ.get("DATA_DIR", "var")) / "api-key"
    if not file.exists():
        raise ConfigurationError(
            "No API key: set ANCHORAGE_API_KEY, or name a file with --api-key-file. `anchorage serve` makes one."
        )
    return file.read_text().strip()


def trust_of(ca_file: Path | None) -> ssl.SSLContext | bool:
    """What certificates are checked against."""
    return ssl.create_default_context(cafile=str(ca_file)) if ca_file else True


def _request(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        return client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise DependencyUnavailableError(
            "anchorage", f"{client.base_url} does not answer ({error}). Is it running? See --url and --ca-file."
        ) from None


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise ConfigurationError(f"The service refused ({response.status_code}): {_detail(response)}")
    return response


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError):
        return response.text[:200]
