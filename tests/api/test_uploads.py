"""Many files, archives, addresses and metadata: each document accepted or refused by itself."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.settings import Settings
from tests.api.conftest import Running, as_tenant, started
from tests.api.test_errors import is_problem
from tests.unit.ingest.test_fetch import answer, serving

DOCUMENTS = "/api/v1/documents"
pytestmark = pytest.mark.asyncio(loop_scope="package")
TEXT = b"# A\n\nText."
UNFETCHED = [
    ("http://10.0.0.1/", "url_forbidden"),
    ("http://[::1]:{port}/", "url_forbidden"),
    ("ftp://127.0.0.1/", "url_forbidden"),
    ("http://127.0.0.1:{port}/redirect", "url_forbidden"),
    ("http://127.0.0.1:1/", "url_unreachable"),
    ("http://127.0.0.1:{port}/missing", "url_unreachable"),
    ("http://127.0.0.1:{port}/large", "payload_too_large"),
    ("http://127.0.0.1:{port}/image", "unsupported_media_type"),
]
BAD_METADATA: list[object] = [
    [],
    "text",
    {"1a": 1},
    {"a-b": 1},
    {"a" * 65: 1},
    {"a": None},
    {"a": {"b": 1}},
    {"a": [[1]]},
    {"a": "x" * 1001},
    {"a": "nul\x00"},
    {"a": 2**63},
    {f"a{n}": n for n in range(33)},
]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def limited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service with small limits, that may fetch from this machine."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("limited"),
        job_poll_seconds=0.02,
        max_upload_bytes=100_000,
        max_upload_files=4,
        max_archive_files=5,
        url_fetch_allowed_networks=["127.0.0.1/32"],
        url_fetch_timeout=2,
    )
    async with started(settings) as limited:
        yield limited


@pytest_asyncio.fixture(loop_scope="package")
async def running(limited: Running) -> AsyncIterator[Running]:
    async with as_tenant(limited) as running:
        yield running


async def send(running: Running, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    parts = [("file", (name, content, "application/octet-stream")) for name, content in files]
    return await running.client.post(DOCUMENTS, files=parts, data=fields)


def packed(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def told(response: httpx.Response) -> list[tuple[str, int, str | None]]:
    return [
        (item["source"], item["status"], item["problem"] and item["problem"]["code"])
        for item in response.json()["outcomes"]
    ]


async def test_many_files_are_accepted_or_refused_each_by_itself(running: Running) -> None:
    response = await send(running, ("a.md", TEXT), ("b.bmp", b"BM"), ("c.txt", b" "), ("a.md", TEXT))
    assert response.status_code == 207
    assert told(response) == [
        ("a.md", 202, None),
        ("b.bmp", 415, "unsupported_media_type"),
        ("c.txt", 422, "document_empty"),
        ("a.md", 200, None),
    ]
    first, *_, again = (item["accepted"] for item in response.json()["outcomes"])
    assert again["document"]["id"] == first["document"]["id"]
    assert (await running.finished(first["job_id"]))["state"] == "succeeded"
    good = await send(running, ("x.md", b"# X"), ("y.md", b"# Y"), metadata='{"year": 2026}')
    assert (good.status_code, told(good)) == (202, [("x.md", 202, None), ("y.md", 202, None)])
    versions = [item["accepted"]["document"]["newest_version"] for item in good.json()["outcomes"]]
    assert [version["metadata"] for version in versions] == [{"year": 2026}] * 2
    is_problem(await send(running, *[(f"{n}.md", b"x") for n in range(5)]), 400, "validation_failed")
    is_problem(await send(running, ("a.md", b"x"), ("b.md", b"y"), title="T"), 422, "validation_failed")


async def test_an_archives_files_become_documents(running: Running) -> None:
    content = packed(
        {"guide/a.md": b"# Berths\n\nA berth costs 34 euros.", "../b.md": b"x", "c.zip": packed({"d": b"e"})}
    )
    response = await send(running, ("set.zip", content), metadata='{"set": "guides"}')
    assert response.status_code == 207
    assert told(response) == [
        ("set.zip/guide/a.md", 202, None),
        ("set.zip/../b.md", 422, "document_unreadable"),
        ("set.zip/c.zip", 415, "unsupported_media_type"),
    ]
    await running.finished(response.json()["outcomes"][0]["accepted"]["job_id"])
    found = await running.ask("What does a berth cost?")
    assert found["citations"][0]["source"] == "set.zip/guide/a.md"
    assert told(await send(running, ("set.zip", packed({"guide/a.md": b"# Berths\n\nA berth costs 34 euros."})))) == [
        ("set.zip/guide/a.md", 200, None)
    ]


async def test_an_archive_that_is_none_or_too_much_is_refused_whole(running: Running) -> None:
    is_problem(await send(running, ("set.zip", b"no zip")), 422, "document_unreadable")
    is_problem(await send(running, ("set.zip", packed({}))), 422, "document_empty")
    many = packed({f"{n}.md": b"x" for n in range(6)})
    is_problem(await send(running, ("set.zip", many)), 413, "payload_too_large")
    beside = await send(running, ("set.zip", b"no zip"), ("a.md", b"# A"))
    assert told(beside) == [("set.zip", 422, "document_unreadable"), ("a.md", 202, None)]


async def test_an_address_is_fetched_and_cited(running: Running) -> None:
    page = b"<html><title>Fees</title><body><h1>Fees</h1><p>A berth costs 34 euros.</p></body></html>"
    async with serving(answer("200 OK", page, Content_Type="text/html; charset=utf-8")) as port:
        url = f"http://127.0.0.1:{port}/fees"
        response = await running.client.post(DOCUMENTS, json={"url": url, "metadata": {"kind": "web"}})
        assert response.status_code == 202, response.text
        assert (await running.client.post(DOCUMENTS, json={"url": url})).json()["created"] is False
    await running.finished(response.json()["job_id"])
    shown = (await running.client.get(f"{DOCUMENTS}/{response.json()['document']['id']}")).json()
    assert (shown["title"], shown["source"], shown["newest_version"]["metadata"]) == ("Fees", url, {"kind": "web"})
    assert (await running.ask("What does a berth cost?"))["citations"][0]["source"] == url


async def test_an_address_that_gives_no_document_says_why(running: Running) -> None:
    pages = {
        "/redirect": answer("302 Found", Location="http://192.168.0.1/"),
        "/large": answer("200 OK", b"x" * 100_001, Content_Type="text/plain"),
        "/image": answer("200 OK", b"\x89PNG", Content_Type="image/bmp"),
    }

    async def site(head: str, writer: asyncio.StreamWriter) -> None:
        await pages.get(head.split()[1], answer("404 Not Found"))(head, writer)

    async with serving(site) as port:
        for url, code in UNFETCHED:
            response = await running.client.post(DOCUMENTS, json={"url": url.format(port=port)})
            assert response.status_code in (413, 415, 422), url
            is_problem(response, response.status_code, code)


async def test_metadata_go_with_the_bytes(running: Running) -> None:
    metadata: dict[str, Any] = {"year": 2026, "draft": False, "ratio": 0.5, "tags": ["a", 1], "who": "Łukasz"}
    document = await running.add("# A\n\nText.", metadata=metadata)
    path = f"{DOCUMENTS}/{document}"
    assert (await running.client.get(path)).json()["newest_version"]["metadata"] == metadata
    new = {"title": "Note", "text": "# B\n\nOther."}
    kept = (await running.client.put(path, json=new)).json()["document"]["newest_version"]
    assert (kept["number"], kept["metadata"]) == (2, metadata)
    replaced = (await running.client.put(path, json=new | {"metadata": {}})).json()["document"]["newest_version"]
    assert (replaced["number"], replaced["metadata"]) == (3, {})


async def test_the_same_bytes_with_other_metadata_are_no_second_document(running: Running) -> None:
    await running.add("# A\n\nText.", metadata={"year": 2025})
    sent = {"title": "Note", "text": "# A\n\nText.", "media_type": "text/markdown"}
    assert (await running.client.post(DOCUMENTS, json=sent)).json()["created"] is False
    other = await running.client.post(DOCUMENTS, json=sent | {"metadata": {"year": 2026}})
    assert "PUT" in is_problem(other, 409, "conflict")["detail"]


async def test_metadata_out_of_bounds_are_refused(shared: Running) -> None:
    for metadata in BAD_METADATA:
        body = {"title": "T", "text": "x", "metadata": metadata}
        is_problem(await shared.client.post(DOCUMENTS, json=body), 422, "validation_failed")
        is_problem(await send(shared, ("a.md", b"# A"), metadata=json.dumps(metadata)), 422, "validation_failed")


async def test_metadata_of_a_form_that_are_no_json_are_named(shared: Running) -> None:
    problem = is_problem(await send(shared, ("a.md", b"# A"), metadata="{"), 422, "validation_failed")
    assert [item["field"] for item in problem["errors"]] == ["metadata"]


async def test_documents_are_found_by_source_and_bytes(running: Running) -> None:
    document = await running.add(TEXT.decode(), source="a.md")
    await running.add("# B\n\nOther.", source="b.md")
    first, other = (hashlib.sha256(content).hexdigest() for content in (TEXT, b"# C"))
    found = (await running.client.get(DOCUMENTS, params={"source": "a.md"})).json()["documents"]
    assert [item["id"] for item in found] == [document]
    for digest, there in ((first, [document]), (other, [])):
        found = (await running.client.get(DOCUMENTS, params={"sha256": digest})).json()["documents"]
        assert [item["id"] for item in found] == there
