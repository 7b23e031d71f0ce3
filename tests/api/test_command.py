"""The verbs of the ``anchorage`` command, against the service on a real port."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import structlog
from typer.testing import CliRunner, Result

from app.backends import open_database
from app.cli import application
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.db.models import JobKind, JobState
from app.ingest.jobs import enqueue
from app.settings import Settings
from app.telemetry.exposition import render
from tests.api.conftest import Running, as_tenant, listening, started
from tests.api.test_query import MANUAL
from tests.api.upstream import SlowModel, slow_model
from tests.unit.ingest.test_fetch import answer, serving

pytestmark = pytest.mark.asyncio(loop_scope="package")
BERTH = "How much does a berth cost a night?"

WRONG: list[tuple[list[str], dict[str, str], str]] = [
    (["ask", "x", "--collection", "nope"], {}, "There is no collection 'nope'"),
    (["ask", "x", "--session", "nope"], {}, "session_id"),
    (["jobs", "show", "nope"], {}, "job_id"),
    (["ask", "x"], {"ANCHORAGE_API_KEY": "anc_wrong"}, "unknown, expired or revoked"),
    (["search", "x"], {"ANCHORAGE_URL": "http://127.0.0.1:1"}, "does not answer"),
    (["ask", "x"], {"ANCHORAGE_URL": "http://127.0.0.1:1"}, "does not answer"),
    (["ingest", "/nowhere"], {}, "no file, folder or address"),
    (["ingest", "/etc/hostname", "--metadata", "{"], {}, "no JSON"),
    (["collections", "create", "n", "--set", "top_k"], {}, "NAME=VALUE"),
    (["collections", "create", "n", "--set", "chunk_tokens=7"], {}, "chunk_tokens"),
]


class Command:
    """Runs verbs as a user's shell would."""

    def __init__(self, url: str, key: str) -> None:
        self._environment = {"ANCHORAGE_URL": url, "ANCHORAGE_API_KEY": key, "COLUMNS": "200"}

    async def run(self, *words: str, **environment: str) -> Result:
        settings = self._environment | environment
        return await asyncio.to_thread(lambda: CliRunner().invoke(application, list(words), env=settings))

    async def json(self, *words: str) -> Any:
        done = await self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def _logs_beside() -> Iterator[None]:
    """The service logs in this process; what a verb prints is looked at."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def fetching(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service that may fetch from this machine."""
    directory = tmp_path_factory.mktemp("fetching")
    settings = Settings(data_dir=directory, job_poll_seconds=0.02, url_fetch_allowed_networks=["127.0.0.1/32"])
    async with started(settings) as fetching:
        yield fetching


@pytest_asyncio.fixture(loop_scope="package")
async def running(fetching: Running) -> AsyncIterator[Running]:
    async with as_tenant(fetching) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def command(running: Running) -> AsyncIterator[Command]:
    async with listening(running) as http:
        yield Command(str(http.base_url), http.headers["authorization"].removeprefix("Bearer "))


async def test_ask_writes_the_answer_with_its_sources_and_goes_on_in_a_session(
    running: Running, command: Command
) -> None:
    await running.add(MANUAL, "Harbour manual", source="harbour.md")
    done = await command.run("ask", "When does the harbour office open?", "--session", "new")
    assert done.exit_code == 0, done.output
    assert "nine in the morning" in done.stdout
    assert "[1] Harbour manual (harbour.md)" in done.stdout
    session = done.stderr.split("session: ")[1].strip()
    follow = await command.json("ask", "And when does it close?", "--session", session)
    assert "closes at five" in follow["answer"]
    history = await command.run("sessions", "show", session)
    assert "> And when does it close?" in history.stdout
    assert (await command.json("sessions", "delete", session)) == {"deleted": session}


async def test_search_finds_passages(running: Running, command: Command) -> None:
    await running.add(MANUAL, "Harbour manual", source="harbour.md")
    done = await command.run("search", "berth fees", "--top-k", "1")
    assert done.stdout.startswith("1. Harbour manual (harbour.md)")
    assert len((await command.json("search", "berth fees", "--top-k", "2"))["passages"]) == 2


async def test_ingest_takes_folders_zips_and_addresses_and_skips_what_is_there(
    running: Running, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "manual.md").write_text(MANUAL)
    (folder / "deep" / "tide.txt").write_text("High tide is at noon.")
    (folder / "empty.txt").write_text(" ")
    (folder / ".hidden.md").write_text("# Hidden")
    (folder / "photo.bmp").write_bytes(b"BM")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("in/side.md", "# Inside\n\nThe archive's text.")
    (folder / "set.zip").write_bytes(buffer.getvalue())
    async with serving(answer("200 OK", b"# Web\n\nFrom the web.", Content_Type="text/markdown")) as port:
        url = f"http://127.0.0.1:{port}/page"
        first = await command.run("ingest", str(folder), url, "--metadata", '{"year": 2026}', "--json")
        outcome = json.loads(first.stdout)
        assert first.exit_code == 1
        assert sorted(outcome["ready"]) == sorted(["deep/tide.txt", "manual.md", "set.zip/in/side.md", url])
        assert [failure["source"] for failure in outcome["failed"]] == ["empty.txt"]
        (folder / "empty.txt").unlink()
        uploads = render(running.services.metrics)[0].decode().count("documents_accepted")
        again = await command.json("ingest", str(folder), url)
        assert (sorted(again["present"]), again["ready"], again["failed"]) == (sorted(outcome["ready"]), [], [])
        assert render(running.services.metrics)[0].decode().count("documents_accepted") == uploads
    told = await command.run("ingest", str(folder))
    assert "0 answerable, 3 were there already, 0 failed" in told.stdout


async def test_collections_documents_and_jobs(running: Running, command: Command, tmp_path: Path) -> None:
    made = await command.json("collections", "create", "manuals", "--set", "top_k=3", "--set", "description=12")
    assert (made["top_k"], made["description"]) == (3, "12")
    changed = await command.json("collections", "change", "manuals", "--set", "top_k=", "--set", "rerank=true")
    assert (changed["top_k"], changed["rerank"]) == (None, True)
    (tmp_path / "a.md").write_text("# A\n\nText.")
    await command.json("ingest", str(tmp_path / "a.md"), "--collection", "manuals")
    assert "manuals" in (await command.run("collections", "list")).stdout
    assert (await command.json("collections", "show", "manuals"))["documents"] == 1
    (document,) = await command.json("documents", "list", "--collection", "manuals")
    (job,) = await command.json("jobs", "list", "--state", "succeeded")
    assert "succeeded" in (await command.run("jobs", "list")).stdout
    assert (await command.json("jobs", "show", job["id"]))["document_id"] == document["id"]
    assert "state: succeeded" in (await command.run("jobs", "show", job["id"])).stdout
    for verb in ("cancel", "retry"):
        assert "succeeded" in str((await command.run("jobs", verb, job["id"])).exception)
    assert (await command.json("cache", "stats"))["questions"] == 0
    assert (await command.json("cache", "clear")) == {"collections": 2}
    assert (await command.run("collections", "delete", "manuals")).exit_code == 1
    assert (await command.json("collections", "delete", "manuals", "--yes")) == {"documents": 1}


async def test_what_goes_wrong_is_said_in_a_line(command: Command) -> None:
    for words, environment, said in WRONG:
        done = await command.run(*words, **environment)
        assert done.exit_code == 1, words
        # ``main`` prints it; the runner stops before that.
        assert said in str(getattr(done.exception, "detail", "")), words


async def test_an_answer_whose_connection_breaks_is_taken_up_again(tmp_path: Path) -> None:
    words = ["A berth ", "costs ", "34 euros ", "a night ", "[1]."]
    async with slow_model(words, 0.15) as model, cut_once(tmp_path, model, b"costs") as (command, cuts):
        done = await command.run("ask", BERTH)
        assert done.exit_code == 0, done.output
        assert "A berth costs 34 euros a night [1]." in done.stdout
        assert (len(cuts), model.requests) == (1, 1)


@asynccontextmanager
async def cut_once(directory: Path, model: SlowModel, word: bytes) -> AsyncIterator[tuple[Command, list[bytes]]]:
    """A service whose first connection that carries the word is cut off right behind it."""
    cuts: list[bytes] = []
    settings = Settings(data_dir=directory, job_poll_seconds=0.02, openai_base_url=model.url)
    async with started(settings) as running, listening(running) as http:
        await running.add(MANUAL, "Harbour manual")

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cutting: bool) -> None:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
                if cutting and not cuts and word in piece:
                    cuts.append(piece)
                    break
            writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
            await asyncio.gather(
                forward(reader, up_writer, cutting=False),
                forward(up_reader, writer, cutting=True),
                return_exceptions=True,
            )

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield Command(url, http.headers["authorization"].removeprefix("Bearer ")), cuts


async def test_the_tab_key_completes_verbs() -> None:
    """As bash asks for it."""
    program = Path(sys.executable).parent / "anchorage"
    asked = {"COMP_WORDS": "anchorage in", "COMP_CWORD": "1", "_ANCHORAGE_COMPLETE": "complete_bash"}
    process = await asyncio.create_subprocess_exec(program, env=os.environ | asked, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().split() == ["ingest"]


async def test_keys_are_made_listed_and_revoked_on_the_host(running: Running, command: Command) -> None:
    host = {"DATA_DIR": str(running.services.settings.data_dir)}
    made = await command.run("keys", "create", "--name", "shop", "--scope", "query", **host)
    key = made.stdout.strip()
    asking = {"ANCHORAGE_API_KEY": key}
    assert (await command.run("search", "x", **asking)).exit_code == 0
    listed = json.loads((await command.run("keys", "list", "--json", **host)).stdout)
    assert [(item["name"], item["scopes"], item["state"]) for item in listed if item["name"] == "shop"] == [
        ("shop", ["query"], "live")
    ]
    assert key not in json.dumps(listed)
    assert (await command.run("keys", "revoke", "shop", **host)).stdout == "revoked: 1\n"
    assert (await command.run("search", "x", **asking)).exit_code == 1
    assert "revoked" in (await command.run("keys", "list", **host)).stdout
    assert (await command.run("keys", "revoke", "shop", **host)).exit_code == 1


def by_name(said: str) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(said)["findings"]}


async def test_doctor_looks_at_everything_and_says_the_cure(tmp_path: Path) -> None:
    doctor = Command("", "")
    host = {"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    sick = await doctor.run("doctor", "--json", **host)
    findings = by_name(sick.stdout)
    assert (sick.exit_code, json.loads(sick.stdout)["ok"]) == (1, False)
    assert {"settings", "vector index", "embedding model"} <= {
        name for name, finding in findings.items() if finding["cure"] is None
    }
    assert "anchorage migrate" in findings["database"]["detail"]
    assert "REDIS_HOST" in findings["cache"]["cure"]
    assert "OPENAI_BASE_URL" in findings["answer provider"]["detail"]
    shown = await doctor.run("doctor", **host)
    assert shown.exit_code == 1
    assert "→ check REDIS_HOST" in shown.stdout
    assert "nothing was missing" not in (await doctor.run("migrate", DATA_DIR=str(tmp_path))).stdout
    well = await doctor.run("doctor", "--json", DATA_DIR=str(tmp_path))
    assert well.exit_code == 0
    assert {finding["state"] for finding in by_name(well.stdout).values()} <= {"ok", "warning"}
    assert "extractive" in by_name(well.stdout)["answer provider"]["detail"]
    assert by_name(well.stdout)["queue"]["detail"] == "0 queued, 0 running, 0 failed"


async def test_doctor_tells_a_script_of_settings_that_cannot_be_read() -> None:
    sick = await Command("", "").run("doctor", "--json", LOG_LEVEL="loud")
    assert sick.exit_code == 1
    assert "LOG_LEVEL" in by_name(sick.stdout)["settings"]["detail"]


async def test_doctor_warns_of_documents_that_wait_or_were_given_up(tmp_path: Path) -> None:
    doctor, host = Command("", ""), {"DATA_DIR": str(tmp_path)}
    await doctor.run("migrate", **host)
    database = open_database(Settings(data_dir=tmp_path))
    now = datetime.now(UTC)
    for state, moment in ((JobState.FAILED, now), (JobState.QUEUED, now - timedelta(hours=1))):
        async with database.session() as session:
            enqueue(session, JobKind.INDEX, DEFAULT_TENANT_ID, uuid4(), None, moment).state = state
        said = await doctor.run("doctor", "--json", **host)
        assert said.exit_code == 0
        found = by_name(said.stdout)["queue"]
        assert found["state"] == "warning"
        assert ("worker" if state is JobState.QUEUED else "jobs list --state failed") in found["cure"]
    await database.close()
