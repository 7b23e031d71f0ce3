"""Every route but health needs a key, and a key opens only what its scopes say."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from app.auth.keys import Keyring, Scope
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.errors import ConfigurationError
from tests.api.conftest import Running
from tests.api.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="package")
OPEN = {"/health", "/api/v1/health", "/api/v1/ready", "/metrics"}


async def test_every_route_but_health_needs_a_key(shared: Running) -> None:
    description = (await shared.stranger.get("/openapi.json")).json()
    checked = 0
    for path, methods in description["paths"].items():
        if path in OPEN:
            continue
        for method in methods:
            response = await shared.stranger.request(method, re.sub(r"{\w+}", str(uuid4()), path))
            if path.startswith("/v1/"):
                assert (response.status_code, response.json()["error"]["code"]) == (401, "authentication_required")
            else:
                is_problem(response, 401, "authentication_required")
            checked += 1
    assert checked >= 20


@pytest.mark.parametrize("key", ["", "anc_x", "anc_abcdefghij_" + "A" * 43, "Bearer", "anc_ä_" + "x" * 43])
async def test_a_wrong_key_is_refused(shared: Running, key: str) -> None:
    headers = {b"Authorization": f"Bearer {key}".encode()}
    response = await shared.stranger.post("/api/v1/query", json={"query": "x"}, headers=headers)
    is_problem(response, 401, "authentication_required")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_key_opens_only_its_scopes(shared: Running) -> None:
    key = await shared.services.keyring.create(DEFAULT_TENANT_ID, "reader", frozenset({Scope.QUERY}))
    headers = {"X-API-Key": key}
    assert (await shared.stranger.post("/api/v1/query", json={"query": "x"}, headers=headers)).status_code == 200
    sent = {"title": "t", "text": "t"}
    is_problem(await shared.stranger.post("/api/v1/documents", json=sent, headers=headers), 403, "permission_denied")


async def test_a_registered_key_works_once_and_its_successor_revokes_it(shared: Running) -> None:
    keyring: Keyring = shared.services.keyring
    first, second = (f"anc_{prefix}_{'k' * 43}" for prefix in ("aaaaa", "bbbbb"))
    scopes = frozenset(Scope)
    assert await keyring.ensure(DEFAULT_TENANT_ID, "admin", first, scopes)
    assert not await keyring.ensure(DEFAULT_TENANT_ID, "admin", first, scopes)
    assert await keyring.ensure(DEFAULT_TENANT_ID, "admin", second, scopes)
    ask = {"query": "x"}
    old = await shared.stranger.post("/api/v1/query", json=ask, headers={"X-API-Key": first})
    is_problem(old, 401, "authentication_required")
    assert (await shared.stranger.post("/api/v1/query", json=ask, headers={"X-API-Key": second})).status_code == 200
    with pytest.raises(ConfigurationError, match="form"):
        await keyring.ensure(DEFAULT_TENANT_ID, "admin", "anc_short", scopes)
