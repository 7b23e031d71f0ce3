"""How the verbs of those who use the service reach it: by HTTP, on this machine or on any other."""

from __future__ import annotations

import functools
import inspect
import json
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import httpx
import typer

from app.errors import ConfigurationError, DependencyUnavailableError

LOCAL = "http://127.0.0.1:8080"
API = "/api/v1"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Key = Annotated[str | None, typer.Option("--api-key", envvar="ANCHORAGE_API_KEY", help="An API key.")]
KeyFile = Annotated[Path | None, typer.Option("--api-key-file", help="A file that holds the key.")]
CaFile = Annotated[Path | None, typer.Option(envvar="ANCHORAGE_CA_FILE", help="The CA to trust.", exists=True)]
Rest = ParamSpec("Rest")


def _options(
    url: Annotated[str, typer.Option(envvar="ANCHORAGE_URL", help="Address of the service.")] = LOCAL,
    api_key: Key = None,
    api_key_file: KeyFile = None,
    ca_file: CaFile = None,
) -> None:
    """The options that all of these verbs have."""


def connected(verb: Callable[Concatenate[httpx.Client, Rest], None]) -> Callable[..., None]:
    """Give a verb a client of the service for its first parameter, and the command the options that it needs."""

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        own = {name: given.pop(name) for name in shared}
        with client_of(own["url"], own["api_key"], own["api_key_file"], own["ca_file"]) as client:
            verb(client, **given)  # type: ignore[call-arg]

    shared = inspect.signature(_options, eval_str=True).parameters
    signature = inspect.signature(verb, eval_str=True)
    parameters = [*list(signature.parameters.values())[1:], *shared.values()]
    # Positional ones would have to stand before those with defaults; typer goes by name.
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in parameters]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    hints = get_type_hints(verb, include_extras=True) | get_type_hints(_options, include_extras=True)
    command.__annotations__ = {name: hints[name] for name in (item.name for item in parameters)}
    # Else typer would look through to the verb itself.
    del command.__wrapped__
    return command


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


def client_of(url: str, key: str | None, key_file: Path | None, ca_file: Path | None) -> httpx.Client:
    """A client that holds the key. Raises ConfigurationError: there is none."""
    headers = {"Authorization": f"Bearer {api_key_of(key, key_file)}"}
    try:
        return httpx.Client(
            base_url=url, headers=headers, verify=trust_of(ca_file), timeout=httpx.Timeout(120, connect=5)
        )
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise ConfigurationError(f"The address or the key can't be used ({error}).") from None


def request(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """One request below ``/api/v1``. Raises DependencyUnavailableError: nothing answers there."""
    try:
        return client.request(method, API + path, **options)
    except httpx.HTTPError as error:
        raise away(client, error) from None


def asked(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """What the service answers, as JSON; None for nothing. Raises ConfigurationError with its reason: it refused."""
    response = checked(request(client, method, path, **options))
    return response.json() if response.content else None


def away(client: httpx.Client, error: Exception) -> DependencyUnavailableError:
    """The error for a service that does not answer."""
    return DependencyUnavailableError(
        "anchorage", f"{client.base_url} does not answer ({error}). Is it running? See --url and --ca-file."
    )


def checked(response: httpx.Response) -> httpx.Response:
    """The response, unless the service refused. Raises ConfigurationError with its reason."""
    if response.is_error:
        response.read()
        raise ConfigurationError(f"The service refused ({response.status_code}): {detail(response)}")
    return response


def detail(response: httpx.Response) -> str:
    """The reason in a problem."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def say(text: str = "", *, end: str = "\n") -> None:
    """Print for people, at once."""
    print(text, end=end, flush=True)  # noqa: T201


def say_json(value: object) -> None:
    """Print for programs: one line."""
    say(json.dumps(value, ensure_ascii=False))


def complain(text: str) -> None:
    """Print beside the result."""
    print(text, file=sys.stderr)  # noqa: T201


def say_table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Some columns of some rows, each as wide as its widest value."""
    table = [columns, *(tuple(_cell(row[column]) for column in columns) for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    for row in table:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
