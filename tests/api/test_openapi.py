"""The description of the API is whole: each operation says what it does, takes and gives, by example."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.conftest import Running

pytestmark = pytest.mark.asyncio(loop_scope="package")


def exampled(description: dict[str, Any], media: dict[str, Any]) -> bool:
    """Whether a body is shown by an example: its own, or one of each of its schemas'."""
    if "example" in media or "examples" in media:
        return True
    schema = media.get("schema", {})
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        return all(exampled(description, {"schema": item}) for item in schema["anyOf"])
    return "examples" in schema


async def test_each_operation_has_summary_description_and_examples(shared: Running) -> None:
    description = (await shared.stranger.get("/openapi.json")).json()
    lacking = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            lacking += [f"{name}: {field}" for field in ("summary", "description") if not operation.get(field)]
            bodies = [("request", operation["requestBody"])] if "requestBody" in operation else []
            bodies += [(code, answer) for code, answer in operation["responses"].items() if code != "204"]
            lacking += [
                f"{name}: {what} {kind}"
                for what, body in bodies
                for kind, media in body.get("content", {}).items()
                if not exampled(description, media)
            ]
    assert lacking == []


async def test_operations_have_names_of_their_own_and_failures_are_described(shared: Running) -> None:
    description = (await shared.stranger.get("/openapi.json")).json()
    operations = [item for path in description["paths"].values() for item in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)) >= 20
    for operation in operations:
        if operation.get("security"):
            assert {"401", "403", "422"} <= operation["responses"].keys(), operation["operationId"]


async def test_the_pages_need_nothing_from_elsewhere(shared: Running) -> None:
    for page in ("/docs", "/redoc"):
        response = await shared.stranger.get(page)
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        links = re.findall(r"""(?:src|href)="([^"]+)\"""", response.text)
        files = [link for link in links if not link.startswith("data:")]
        assert files
        for link in files:
            assert "//" not in link
            file = await shared.stranger.get(f"/{link}")
            assert file.status_code == 200, link
            assert file.headers["x-content-type-options"] == "nosniff"
    for wrong in ("README.md", "redoc.html", "..%2f__init__.py", "%2e%2e", "nothing.js", ".js"):
        assert (await shared.stranger.get(f"/docs/{wrong}")).status_code == 404, wrong
