"""``anchorage ask`` and ``search``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer

from app.cli.connection import API, AsJson, asked, away, checked, complain, connected, say, say_json
from app.errors import ProviderError

Collection = Annotated[str | None, typer.Option(help="Which documents; the default collection if absent.")]
TopK = Annotated[int | None, typer.Option(help="How many passages.")]
StrategyName = Annotated[str | None, typer.Option(help="hybrid, dense or sparse.")]
# A stream that breaks off is taken up again so often; the service keeps what was written meanwhile.
RESUMPTIONS = 3


@connected
def ask(
    client: httpx.Client,
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    collection: Collection = None,
    provider: Annotated[str | None, typer.Option(help="Who writes the answer.")] = None,
    session: Annotated[
        str | None, typer.Option(help="A session's id: the question may lean on it; `new` begins one.")
    ] = None,
    top_k: TopK = None,
    strategy: StrategyName = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question; prints the answer as it is written, and its sources."""
    body = _sent(query=question, collection=collection, provider=provider, top_k=top_k, strategy=strategy)
    if session is not None:
        body |= {"session": True} if session == "new" else {"session_id": session}
    if as_json:
        say_json(asked(client, "POST", "/query", json=body))
        return
    written = ""
    for name, data in _events(client, body):
        if name == "delta":
            written += data["text"]
            say(data["text"], end="")
        elif name == "error":
            say()
            raise ProviderError("anchorage", data["detail"])
        elif name == "done":
            say()
            _tell_answer(data, written)


@connected
def search(
    client: httpx.Client,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Collection = None,
    top_k: TopK = None,
    strategy: StrategyName = None,
    as_json: AsJson = False,
) -> None:
    """Find passages, without an answer."""
    body = _sent(query=query, collection=collection, top_k=top_k, strategy=strategy)
    found = asked(client, "POST", "/search", json=body)
    if as_json:
        say_json(found)
        return
    for number, passage in enumerate(found["passages"], start=1):
        say(f"{number}. {_source(passage)}  score {passage['score']:.4f}")
        say("   " + " ".join(passage["text"].split())[:300])


def _sent(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _tell_answer(answer: dict[str, Any], written: str) -> None:
    if answer["answer"].strip() != written.strip():
        # Citations that did not hold are dropped when all is written.
        say(f"\nChecked: {answer['answer']}")
    for citation in answer["citations"]:
        say(f"  [{citation['number']}] {_source(citation)}")
    if answer["session_id"]:
        complain(f"session: {answer['session_id']}")


def _source(item: dict[str, Any]) -> str:
    page = f", page {item['page']}" if item["page"] else ""
    return f"{item['title']} ({item['source']}{page})"


def _events(client: httpx.Client, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The events of the answer, whatever the connection does meanwhile."""
    last_id = ""
    for attempt in range(RESUMPTIONS + 1):
        try:
            with _stream(client, body, last_id) as response:
                checked(response)
                for event_id, name, data in _read(response.iter_lines()):
                    last_id = event_id
                    yield name, data
                    if name in ("done", "error"):
                        return
        except httpx.HTTPError as error:
            if not last_id or attempt == RESUMPTIONS:
                raise away(client, error) from None
    raise ProviderError("anchorage", "The answer broke off. Ask again.")


def _stream(client: httpx.Client, body: dict[str, Any], last_id: str) -> Any:
    if not last_id:
        return client.stream("POST", f"{API}/query", json=body | {"stream": True})
    request_id = last_id.rpartition(":")[0]
    return client.stream("GET", f"{API}/query/{request_id}/events", headers={"Last-Event-ID": last_id})


def _read(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line and "event" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
