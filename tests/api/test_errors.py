"""Bad input to questions, and everything else that can be refused: always one shape, with a code and a request id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from app.errors import DependencyUnavailableError
from app.main import create_app
from app.settings import Settings
from tests.api.conftest import Running

QUERY = "/api/v1/query"
pytestmark = pytest.mark.asyncio(loop_scope="package")


def is_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": "   "}, "query"),
        ({"query": "x" * 100_000}, "query"),
        ({"query": "x", "top_k": 0}, "top_k"),
        ({"query": "x", "threshold": 2}, "threshold"),
        ({"query": "x", "strategy": "magic"}, "strategy"),
        ({"query": "x", "provider": "nobody"}, "provider"),
        ({"query": "x", "temperature": 1}, "temperature"),
        ({"query": 5}, "query"),
        ({"query": "a\x00b"}, "query"),
        ({"query": "x", "collection": "a\x00b"}, "collection"),
        ({}, "query"),
    ],
)
async def test_a_wrong_field_is_named(shared: Running, body: dict[str, Any], field: str) -> None:
    problem = is_problem(await shared.client.post(QUERY, json=body), 422, "validation_failed")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"[]", 422),
        (b'{"query": "\xff\xfe"}', 400),
        (b'{"query": "\\ud800"}', 422),
        (b'{"query": ' + b"[" * 100_000, 400),
        (b'{"query": "x", "top_k": ' + b"1" * 5000 + b"}", 400),
        (b'{"query": "x", "threshold": NaN}', 422),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(shared: Running, raw: bytes, status: int) -> None:
    response = await shared.client.post(QUERY, content=raw, headers={"Content-Type": "application/json"})
    is_problem(response, status, "validation_failed")


async def test_a_wrong_content_type_is_refused(shared: Running) -> None:
    response = await shared.client.post(QUERY, content=b"query=x", headers={"Content-Type": "text/plain"})
    is_problem(response, 415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(shared: Running) -> None:
    response = await shared.client.post(QUERY, content=b"x" * (2 * 1024 * 1024))
    is_problem(response, 413, "payload_too_large")


async def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(shared: Running) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield b" " * 65536

    is_problem(await shared.client.post(QUERY, content=endless()), 413, "payload_too_large")
    assert read < 2 * 1024 * 1024


async def test_a_host_that_is_not_ours_is_refused(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": ["test", "*.example.com"]}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for host in ("test", "test:8443", "a.example.com", "A.Example.com"):
            assert (await client.get("/openapi.json", headers={"Host": host})).status_code == 200, host
        for host in ("evil", "example.com", "test.evil", "evil-example.com", "[::1]:80", ""):
            response = await client.get("/openapi.json", headers={"Host": host})
            is_problem(response, 400, "validation_failed")


async def test_unknown_addresses_methods_and_collections(shared: Running) -> None:
    is_problem(await shared.client.get("/nowhere"), 404, "not_found")
    is_problem(await shared.client.get(QUERY), 405, "method_not_allowed")
    is_problem(await shared.client.post(QUERY, json={"query": "x", "collection": "nope"}), 404, "not_found")


async def test_a_provider_without_settings_is_named(shared: Running) -> None:
    problem = is_problem(
        await shared.client.post(QUERY, json={"query": "x", "provider": "openai"}), 422, "validation_failed"
    )
    assert "OPENAI_API_KEY" in problem["detail"]


async def test_a_dependency_that_is_away_is_named_and_says_when_to_try_again(
    shared: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DependencyUnavailableError("qdrant", "Qdrant does not answer. Try again shortly.")

    monkeypatch.setattr(type(shared.services.index), "search", away)
    response = await shared.client.post(QUERY, json={"query": "x", "use_cache": False})
    assert is_problem(response, 503, "dependency_unavailable")["dependency"] == "qdrant"
    assert int(response.headers["retry-after"]) > 0


async def test_a_bug_shows_nothing_of_itself(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(type(shared.services.index), "search", broken)
    response = await shared.client.post(QUERY, json={"query": "x", "use_cache": False})
    is_problem(response, 500, "internal_error")
    assert "secret detail" not in response.text


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-123", lambda got: got == "abc-123"),
        ("a b\n", lambda got: len(got) == 32),
        ("x" * 65, lambda got: len(got) == 32),
    ],
)
async def test_a_request_id_is_kept_when_it_is_harmless(
    shared: Running, sent: str, kept: Callable[[str], bool]
) -> None:
    response = await shared.stranger.get("/health", headers={"X-Request-ID": sent.strip("\n")})
    assert kept(response.headers["x-request-id"])
