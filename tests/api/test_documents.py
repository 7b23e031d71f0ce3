"""Documents over HTTP in embedded mode: the real application, with its database, index, model and worker."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from reportlab.pdfgen.canvas import Canvas
from sqlalchemy import func, select

from app.auth.keys import Scope
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.db.models import Chunk, Collection, Document, DocumentVersion, Job, Tenant
from app.services import Services

from .conftest import Running

DOCUMENTS = "/api/v1/documents"
MARKDOWN = (
    b"# Archiving\n\nThe archive command copies each finished segment.\n\n## Restore\n\nSet recovery_target_time.\n"
)


def pdf(*pages: str) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for page in pages:
        canvas.drawString(72, 720, page)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


@dataclass
class Service:
    """The running application and one client that may do everything."""

    http: httpx.AsyncClient
    services: Services
    done: Callable[[str], Awaitable[dict[str, Any]]]

    async def send(self, content: bytes, name: str, media_type: str = "application/octet-stream", **fields: str) -> Any:
        return await self.http.post(DOCUMENTS, files={"file": (name, content, media_type)}, data=fields)

    async def ready(self, content: bytes, name: str, **fields: str) -> dict[str, Any]:
        answer = await self.send(content, name, **fields)
        assert answer.status_code == 202, answer.text
        assert (await self.done(answer.json()["job_id"]))["state"] == "succeeded"
        found: dict[str, Any] = (await self.http.get(f"{DOCUMENTS}/{answer.json()['document']['id']}")).json()
        return found

    async def stored(self) -> list[int]:
        """Rows of documents, versions, chunks and jobs, and points of the index."""
        async with self.services.database.session(reading=True) as session:
            counts = [
                await session.scalar(select(func.count()).select_from(table)) or 0
                for table in (Document, DocumentVersion, Chunk, Job)
            ]
        return [*counts, await self.services.index.count()]

    async def epoch(self) -> int:
        async with self.services.database.session(reading=True) as session:
            return (await session.scalars(select(Collection.epoch))).one()

    async def key(self, *scopes: Scope, tenant_id: UUID = DEFAULT_TENANT_ID) -> dict[str, str]:
        key = await self.services.keyring.create(tenant_id, "test", frozenset(scopes))
        return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def service(running: Running) -> Service:
    return Service(running.client, running.services, running.finished)


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem of that kind, whole and with its request id."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["code"], body["status"]) == (code, status)
    assert body["request_id"] == answer.headers["x-request-id"] != ""
    assert body["detail"]
    return body


BAD_FILES = [
    ("cut.pdf", "application/pdf", pdf("whole")[:200], 422, "document_unreadable"),
    ("noise.pdf", "application/pdf", b"%PDF-1.7\n" + bytes(range(256)) * 20, 422, "document_unreadable"),
    ("no.pdf", "application/pdf", b"this is no PDF", 422, "document_unreadable"),
    ("empty.txt", "text/plain", b"", 422, "document_empty"),
    ("blank.txt", "text/plain", b" \n\t\r\n", 422, "document_empty"),
    ("latin.txt", "text/plain", "café".encode("latin-1"), 422, "document_not_utf8"),
    ("latin.html", "text/html", "<p>café</p>".encode("latin-1"), 422, "document_not_utf8"),
    ("photo.png", "image/png", b"\x89PNG\r\n\x1a\n....", 415, "unsupported_media_type"),
    ("photo.txt", "text/plain", b"\x89PNG\r\n\x1a\n....", 415, "unsupported_media_type"),
    ("book.md", "text/markdown", pdf("a PDF in disguise"), 415, "unsupported_media_type"),
    ("archive.rar", "application/octet-stream", b"PK\x03\x04", 415, "unsupported_media_type"),
    ("sheet.xlsx", "application/octet-stream", b"PK\x03\x04", 422, "document_unreadable"),
    ("program", "application/octet-stream", b"\x7fELF\x00\x00", 415, "unsupported_media_type"),
    ("nul.txt", "text/plain", b"text\x00text", 415, "unsupported_media_type"),
    ("large.txt", "text/plain", b"x" * (1024 * 1024 + 1), 413, "payload_too_large"),
]


async def test_bad_files_are_refused_and_nothing_is_stored(service: Service) -> None:
    for name, media_type, content, status, code in BAD_FILES:
        refused(await service.send(content, name, media_type), status, code)
    assert await service.stored() == [0, 0, 0, 0, 0]


async def test_a_hundred_megabytes_are_refused_without_being_read(service: Service) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield (
                b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
                if sent == 1
                else b"x" * 2**20
            )

    headers = {"content-type": "multipart/form-data; boundary=b"}
    refused(await service.http.post(DOCUMENTS, content=body(), headers=headers), 413, "payload_too_large")
    assert sent <= 4
    declared = headers | {"content-length": str(100 * 1024 * 1024)}
    sent = 0
    refused(await service.http.post(DOCUMENTS, content=body(), headers=declared), 413, "payload_too_large")
    assert sent <= 1
    assert await service.stored() == [0, 0, 0, 0, 0]


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"title": "T", "text": "x", "colour": "red"}, "colour"),
    ({"text": "x"}, "title"),
    ({"title": "", "text": "x"}, "title"),
    ({"title": "T", "text": 7}, "text"),
    ({"title": "T" * 501, "text": "x"}, "title"),
    ({"title": "T\x00", "text": "x"}, "title"),
    ({"title": "T", "text": "x", "source": "a\x00b"}, "source"),
]


async def test_wrong_fields_are_named(service: Service) -> None:
    for body, field in WRONG_FIELDS:
        problem = refused(await service.http.post(DOCUMENTS, json=body), 422, "validation_failed")
        assert [item["field"] for item in problem["errors"]] == [field]
        assert await service.stored() == [0, 0, 0, 0, 0]


async def test_wrong_forms_are_refused(service: Service) -> None:
    problem = refused(await service.send(b"x", "a.txt", colour="red"), 422, "validation_failed")
    assert [item["field"] for item in problem["errors"]] == ["colour"]
    refused(await service.send(b"x", "a.txt", title="T\x00"), 422, "validation_failed")
    refused(await service.http.post(DOCUMENTS, data={"title": "no file"}), 415, "unsupported_media_type")
    refused(await service.http.post(DOCUMENTS, files={"other": ("a.txt", b"x")}), 422, "validation_failed")
    broken = {"content-type": "multipart/form-data; boundary=b"}
    refused(await service.http.post(DOCUMENTS, content=b"--x", headers=broken), 400, "validation_failed")
    as_json = {"content-type": "application/json"}
    refused(await service.http.post(DOCUMENTS, content=b"{", headers=as_json), 400, "validation_failed")
    refused(
        await service.http.post(DOCUMENTS, content=b"x", headers={"content-type": "text/plain"}),
        415,
        "unsupported_media_type",
    )
    refused(await service.send(b"x", "a.txt", collection="elsewhere"), 404, "not_found")
    assert await service.stored() == [0, 0, 0, 0, 0]


async def test_what_has_no_word_fails_with_its_reason(service: Service) -> None:
    """It can't be seen before parsing: accepted, then failed once, for good."""
    for name, content in (
        ("comment.html", b"<!-- nothing -->"),
        ("space.txt", "\u200b\u200b".encode()),
        ("scan.pdf", pdf("")),
    ):
        answer = (await service.send(content, name)).json()
        job = await service.done(answer["job_id"])
        assert (job["state"], job["error_code"]) == ("failed", "document_empty"), name
        found = (await service.http.get(f"{DOCUMENTS}/{answer['document']['id']}")).json()
        assert (found["ready"], found["newest_version"]["state"]) == (False, "failed")
    assert await service.epoch() == 0


@pytest.mark.parametrize(
    ("name", "content", "chunks"),
    [
        ("a.md", MARKDOWN, 2),
        ("a.txt", b"Plain text, in one paragraph.", 1),
        ("a.html", b"<title>T</title><nav>menu</nav><h1>H</h1><p>Body</p><script>no()</script>", 1),
        ("a.pdf", pdf("The first page.", "The second page."), 2),
    ],
)
async def test_each_kind_becomes_ready(service: Service, name: str, content: bytes, chunks: int) -> None:
    found = await service.ready(content, name)
    assert (found["ready"], found["newest_version"]["chunk_count"]) == (True, chunks)
    assert await service.stored() == [1, 1, chunks, 1, chunks]
    assert await service.epoch() == 1
    async with service.services.database.session(reading=True) as session:
        rows = (await session.scalars(select(Chunk).order_by(Chunk.position))).all()
    assert "menu" not in "".join(row.text for row in rows)
    if name == "a.pdf":
        assert [row.page for row in rows] == [1, 2]
    if name == "a.md":
        assert [row.heading_path for row in rows] == [["Archiving"], ["Archiving", "Restore"]]


async def test_json_text_and_a_declared_character_set_are_taken(service: Service) -> None:
    answer = await service.http.post(
        DOCUMENTS, json={"title": "Café", "text": "# Über\n\nText.", "media_type": "text/markdown"}
    )
    assert (answer.status_code, answer.json()["document"]["title"]) == (202, "Café")
    latin = await service.send("Crème brûlée".encode("latin-1"), "l.txt", "text/plain; charset=iso-8859-1")
    assert (await service.done(latin.json()["job_id"]))["state"] == "succeeded"
    async with service.services.database.session(reading=True) as session:
        assert "Crème brûlée" in (await session.scalars(select(Chunk.text))).all()


async def test_the_same_bytes_again_are_the_same_document(service: Service) -> None:
    first = await service.ready(MARKDOWN, "a.md")
    before = await service.stored()
    again = await service.send(MARKDOWN, "a.md")
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["document"]["id"] == first["id"]
    assert await service.stored() == before


async def test_a_new_version_takes_the_place_of_the_old_one(service: Service) -> None:
    first = await service.ready(MARKDOWN, "a.md")
    answer = await service.http.put(
        f"{DOCUMENTS}/{first['id']}", files={"file": ("a.md", b"# New\n\nOther text.", "text/markdown")}
    )
    assert answer.status_code == 202
    await service.done(answer.json()["job_id"])
    for _ in range(200):
        if (await service.stored())[4] == 1:
            break
        await asyncio.sleep(0.02)
    documents, versions, chunks, jobs, points = await service.stored()
    assert (documents, versions, chunks, jobs, points) == (1, 2, 1, 3, 1)
    assert await service.epoch() == 2
    bad = await service.http.put(f"{DOCUMENTS}/{first['id']}", files={"file": ("a.md", b"", "text/markdown")})
    refused(bad, 422, "document_empty")
    assert (await service.stored())[1] == 2


async def test_a_deleted_document_is_gone_at_once_and_its_points_soon(service: Service) -> None:
    found = await service.ready(MARKDOWN, "a.md")
    answer = await service.http.delete(f"{DOCUMENTS}/{found['id']}")
    assert answer.status_code == 202
    refused(await service.http.get(f"{DOCUMENTS}/{found['id']}"), 404, "not_found")
    assert await service.epoch() == 2
    assert (await service.done(answer.json()["job_id"]))["state"] == "succeeded"
    assert (await service.stored())[:3] == [0, 0, 0]
    assert await service.services.index.count() == 0
    refused(await service.http.delete(f"{DOCUMENTS}/{found['id']}"), 404, "not_found")


async def test_the_list_has_every_document_once_by_its_cursor(service: Service) -> None:
    for number in range(7):
        await service.send(b"text %d" % number, f"{number}.txt")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await service.http.get(DOCUMENTS, params={"limit": "3", **cursor})).json()
        seen += [document["source"] for document in page["documents"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [f"{number}.txt" for number in reversed(range(7))]
    early = base64.urlsafe_b64encode(json.dumps(["0001-01-01T00:00:00+14:00", str(uuid4())]).encode()).decode()
    for wrong in ("nonsense", "W10=", "eyJhIjoxfQ==", "é", early):
        refused(await service.http.get(DOCUMENTS, params={"cursor": wrong}), 404, "not_found")


async def test_keys_scopes_and_tenants_are_walls(service: Service) -> None:
    found = await service.ready(MARKDOWN, "a.md")
    path = f"{DOCUMENTS}/{found['id']}"
    refused(await service.http.get(path, headers={"Authorization": ""}), 401, "authentication_required")
    asker = await service.key(Scope.QUERY)
    assert (await service.http.get(path, headers=asker)).status_code == 200
    refused(await service.http.delete(path, headers=asker), 403, "permission_denied")
    refused(
        await service.http.post(DOCUMENTS, json={"title": "T", "text": "x"}, headers=asker), 403, "permission_denied"
    )
    other = uuid4()
    async with service.services.database.session() as session:
        session.add(Tenant(id=other, name="other", created_at=service.services.acceptance._clock()))
    stranger = await service.key(Scope.ADMIN, tenant_id=other)
    for method in ("GET", "DELETE"):
        refused(await service.http.request(method, path, headers=stranger), 404, "not_found")
    refused(await service.http.put(path, json={"title": "T", "text": "x"}, headers=stranger), 404, "not_found")
    refused(await service.http.get(f"/api/v1/jobs/{uuid4()}"), 404, "not_found")
