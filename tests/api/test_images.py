"""Images: put into words by a model that sees, found by those words, and cited as images."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from app.settings import Settings
from tests.api.conftest import Running, started
from tests.api.test_errors import is_problem
from tests.api.upstream import completing_model

DOCUMENTS = "/api/v1/documents"
SEEN = "A chart of the harbour: the north quay is 4 metres deep, the south quay 9 metres."


def png() -> bytes:
    """One grey pixel."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    header = struct.pack("!2I5B", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\x00\x80")) + part(b"IEND", b"")


async def test_an_image_is_described_found_and_cited(tmp_path: Path) -> None:
    async with completing_model(SEEN, "") as model:
        settings = Settings(
            data_dir=tmp_path,
            job_poll_seconds=0.02,
            openai_base_url=model.url,
            vision_provider="openai",
            vision_model="sees",
        )
        async with started(settings) as running:
            sent = await running.client.post(DOCUMENTS, files={"file": ("chart.png", png(), "image/png")})
            assert sent.status_code == 202, sent.text
            assert (await running.finished(sent.json()["job_id"]))["state"] == "succeeded"
            answer = await running.ask("How deep is the south quay?", provider="extractive")
            (citation,) = answer["citations"]
            found = await running.client.get(f"{DOCUMENTS}/{citation['document_id']}/content")
    assert "9 metres" in answer["answer"]
    assert (citation["media_type"], citation["source"]) == ("image/png", "chart.png")
    assert (found.content, found.headers["content-type"]) == (png(), "image/png")
    assert found.headers["content-disposition"] == "attachment; filename*=UTF-8''chart.png"
    assert "sandbox" in found.headers["content-security-policy"]


async def test_without_a_model_that_sees_an_image_is_refused_with_the_cure(running: Running) -> None:
    for name, content in (("chart.png", png()), ("chart.jpg", b"\xff\xd8\xff\xe0")):
        answer = await running.client.post(DOCUMENTS, files={"file": (name, content)})
        assert "VISION_PROVIDER" in is_problem(answer, 415, "unsupported_media_type")["detail"]


async def test_what_is_no_image_is_refused(running: Running) -> None:
    answer = await running.client.post(DOCUMENTS, files={"file": ("chart.png", b"text", "image/png")})
    is_problem(answer, 415, "unsupported_media_type")


async def test_content_is_that_of_the_version_that_answers(running: Running) -> None:
    identifier = await running.add("The first text.", "a note")
    assert (await running.client.get(f"{DOCUMENTS}/{identifier}/content")).text == "The first text."
    is_problem(await running.client.get(f"{DOCUMENTS}/{'0' * 32}/content"), 404, "not_found")
    is_problem(await running.stranger.get(f"{DOCUMENTS}/{identifier}/content"), 401, "authentication_required")
