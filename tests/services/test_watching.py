"""What a deployed service says of itself: gunicorn with two workers, and a worker for documents, each a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from tests.lab.qdrant_standin.process import free_port
from tests.services.postgres import Postgres, pgvector_programs
from tests.unit.telemetry.collector import Collector, collecting

pytestmark = pytest.mark.services
ROLE = f"r{uuid4().hex}"
SECRETS = {
    "SECRET_KEY": "key-of-keys-that-nobody-must-ever-see-1",
    "DATABASE_PASSWORD": 'pass"word-of-the-database-2',
    "OPENAI_API_KEY": "sk-of-the-provider-that-nobody-sees-3",
    "REDIS_PASSWORD": "password-of-the-cache-4",
    "QDRANT_API_KEY": "key-of-the-index-5",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=token-of-the-collector-6",
}
QUESTION = "What does the Marchioness pay for the zebra-striped yacht?"
DOCUMENT = "# Berths\n\nThe Marchioness pays 34 euros a night for the zebra-striped yacht."
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


@dataclass
class Deployed:
    """The processes, and where they answer."""

    directory: Path
    postgres: Postgres
    database: str
    collector: Collector
    environment: dict[str, str]
    port: int
    worker_port: int
    key: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, name: str, *program: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *program], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def command(self, *words: str) -> str:
        program = [sys.executable, "-c", "from app.cli import main; main()", *words]
        return subprocess.check_output(program, env=self.environment, text=True).strip()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=30, **options)

    def ask(self, question: str, **fields: Any) -> httpx.Response:
        return self.request("POST", "/api/v1/query", json={"query": question, **fields})

    def add(self, text: str) -> httpx.Response:
        """Make a document answerable; the response to its upload."""
        sent = {"text": text, "title": f"Note {uuid4()}", "media_type": "text/markdown"}
        response = self.request("POST", "/api/v1/documents", json=sent)
        assert response.status_code == 202, response.text
        job = f"/api/v1/jobs/{response.json()['job_id']}"
        until(lambda: self.request("GET", job).json()["state"] == "succeeded")
        return response

    def metrics(self, port: int) -> dict[str, dict[tuple[str, ...], float]]:
        """By name, then by the values of the labels, in the order of their names."""
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in plain(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=15).raise_for_status().text):
            for sample in family.samples:
                labels = tuple(sample.labels[name] for name in sorted(sample.labels))
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def lines(self) -> list[str]:
        return [
            line for name in ("web", "worker") for line in (self.directory / f"{name}.log").read_text().splitlines()
        ]


def until(done: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, "not within time"
        time.sleep(0.1)


@contextmanager
def owner_of(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url.replace(f"{ROLE}@", "owner@"), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    directory = tmp_path_factory.mktemp("watching")
    postgres = Postgres(pgvector_programs()).start()
    url = postgres.database()
    name = url.rsplit("/", 1)[1]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{SECRETS['DATABASE_PASSWORD']}'".encode())
        connection.execute(f'ALTER DATABASE "{name}" OWNER TO {ROLE}'.encode())
        connection.execute(f"GRANT ALL ON SCHEMA public TO {ROLE}".encode())
    postgres.ask_for_the_password_of(ROLE)
    port, worker_port = free_port(), free_port()
    multiprocess = directory / "metrics"
    multiprocess.mkdir()
    with collecting() as collector:
        environment = SECRETS | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATABASE_URL": url.replace("owner@", f"{ROLE}@"),
            "VECTOR_STORE_TYPE": "pgvector",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": "1",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
            "PROVIDERS": "openai,extractive",
            "BIND": f"127.0.0.1:{port}",
            "UVICORN_WORKERS": "2",
            "EMBEDDING_THREADS": "1",
            "JOB_POLL_SECONDS": "0.1",
            "LOG_LEVEL": "DEBUG",
            "ENABLE_QUERY_LOGGING": "false",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "TRACES_SAMPLE_RATIO": "1",
            "WORKER_METRICS_PORT": str(worker_port),
            "APP_COLOUR": "blue",
        }
        made = Deployed(directory, postgres, environment["DATABASE_URL"], collector, environment, port, worker_port)
        made.command("migrate")
        made.key = made.command("keys", "create", "--name", "test", "--scope", "query", "--scope", "ingest")
        made.run("worker", "-c", "from app.cli import main; main()", "worker")
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(multiprocess)
        made.run("web", "-m", "gunicorn", "--config", "python:app.gunicorn_conf", "app.main:from_environment()")
        try:
            until(lambda: _answers(made))
            yield made
        finally:
            for process in made.processes.values():
                os.killpg(process.pid, signal.SIGTERM)
            for process in made.processes.values():
                process.wait(timeout=60)
            postgres.stop()


def _answers(made: Deployed) -> bool:
    for name, process in made.processes.items():
        assert process.poll() is None, (made.directory / f"{name}.log").read_text()[-3000:]
    try:
        return made.request("GET", "/api/v1/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_what_both_workers_counted_is_one_sum_with_the_state_of_the_whole(deployed: Deployed) -> None:
    deployed.add(DOCUMENT)
    before = deployed.metrics(deployed.port).get("http_requests_total", {}).get(("POST", "/api/v1/query", "200"), 0)
    for number in range(12):
        assert deployed.ask(f"{QUESTION} {number}").json()["grounded"]
    seen = deployed.metrics(deployed.port)
    assert seen["http_requests_total"]["POST", "/api/v1/query", "200"] == before + 12
    assert seen["anchorage_queries_total"]["miss", "true", "extractive"] >= 12
    assert seen["anchorage_provider_requests_total"]["failed", "openai"] >= 1
    assert seen["anchorage_embedding_duration_seconds_count"]["query",] >= 12
    assert seen["anchorage_database_pool_size"][()] == 2 * 10
    connections = seen["anchorage_database_pool_connections"]
    assert connections["in_use",] == 0
    assert 1 <= connections["idle",] <= 20
    assert seen["anchorage_ingestion_jobs"]["succeeded",] >= 1
    assert seen["anchorage_build_info"]["blue", "0.1.0"] == 1
    assert seen["anchorage_dependency_up"] == {("postgres",): 1, ("qdrant",): 1, ("redis",): 0}


def test_the_worker_shows_its_queue_and_what_it_did(deployed: Deployed) -> None:
    deployed.add("# Cranes\n\nThe crane lifts nine tonnes.")
    with owner_of(deployed.database) as connection:
        # One that was given up.
        connection.execute(
            "INSERT INTO jobs (id, tenant_id, kind, document_id, state, stage, attempts, run_at, lease_until, "
            "created_at) SELECT gen_random_uuid(), id, 'index', gen_random_uuid(), 'failed', 'parse', 5, now(), "
            "NULL, now() FROM tenants"
        )
    seen = deployed.metrics(deployed.worker_port)
    assert seen["anchorage_jobs_finished_total"]["succeeded",] >= 1
    assert {step for (step,) in seen["anchorage_ingestion_step_duration_seconds_count"]} >= {
        *("parse", "chunk", "embed", "write", "show")
    }
    assert seen["anchorage_dead_letters"][()] == seen["anchorage_ingestion_jobs"]["failed",] == 1
    assert seen["anchorage_queue_oldest_seconds"][()] < 60


def test_a_request_leads_to_its_trace_and_back_whichever_worker_is_scraped(deployed: Deployed) -> None:
    sent = {uuid4().hex for _ in range(30)}
    for trace_id in sent:
        deployed.request("GET", "/api/v1/collections", headers={"X-Request-ID": trace_id})
        time.sleep(0.05)
    time.sleep(1.2)
    for trace_id in (uuid4().hex, uuid4().hex):
        deployed.request("GET", "/api/v1/collections", headers={"X-Request-ID": trace_id})
        sent.add(trace_id)
    for _ in range(6):
        response = deployed.request("GET", "/metrics", headers=OPENMETRICS)
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        shown = _exemplars(list(openmetrics(response.text)))  # type: ignore[no-untyped-call]
        assert shown
        assert shown <= sent
    root = deployed.collector.trace(next(iter(shown)))[-1]
    assert (root.name, root.service) == ("GET /api/v1/collections", "anchorage-web")


def _exemplars(families: list[Metric]) -> set[str]:
    return {
        sample.exemplar.labels["trace_id"]
        for family in families
        for sample in family.samples
        if sample.exemplar is not None and sample.labels["route"] == "/api/v1/collections"
    }


def test_the_trace_of_an_upload_goes_on_in_the_worker(deployed: Deployed) -> None:
    parent = "00-" + uuid4().hex + "-00f067aa0ba902b7-01"
    sent = {"text": "# Locks\n\nThe lock opens at six.", "title": "Locks", "media_type": "text/markdown"}
    response = deployed.request("POST", "/api/v1/documents", json=sent, headers={"traceparent": parent})
    steps = {"POST /api/v1/documents", "authenticate", "examine", "accept", "job index"}
    steps |= {"parse", "chunk", "embed", "write", "show"}
    spans = {span.name: span for span in deployed.collector.trace(parent.split("-")[1], until=steps)}
    assert spans["POST /api/v1/documents"].parent_id == "00f067aa0ba902b7"
    assert spans["job index"].parent_id == spans["accept"].span_id
    assert spans["job index"].service == "anchorage-worker"
    assert {spans[step].parent_id for step in ("parse", "embed", "show")} == {spans["job index"].span_id}
    request_id = response.headers["X-Request-ID"]
    of_request = [item for item in map(json.loads, deployed.lines()) if item.get("request_id") == request_id]
    assert {item["message"] for item in of_request} >= {"request", "job.done"}
    assert {item["trace_id"] for item in of_request} == {parent.split("-")[1]}
    assert deployed.collector.headers["authorization"] == "token-of-the-collector-6"


def test_no_line_and_no_span_tells_a_secret_or_a_question(deployed: Deployed) -> None:
    deployed.add(DOCUMENT)
    words = ("Marchioness", "zebra-striped")
    assert deployed.ask(QUESTION).json()["answer"]
    deployed.ask(QUESTION, provider="openai")
    deployed.ask(QUESTION + " " + "x" * 5000)
    deployed.ask(QUESTION, stream=True)
    deployed.request("GET", "/api/v1/collections", headers={"Authorization": f"Bearer {deployed.key[:-1]}x"})
    deployed.request("GET", f"/api/v1/{deployed.key}")
    with owner_of(deployed.database) as connection:
        connection.execute("ALTER TABLE turns RENAME TO elsewhere")
    broken = deployed.ask(QUESTION, session=True, use_cache=False)
    with owner_of(deployed.database) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO turns")
    assert broken.status_code == 500
    time.sleep(2)
    lines = deployed.lines()
    told = [json.loads(line) for line in lines]
    for item in told:
        assert list(item)[:4] == ["timestamp", "level", "logger", "message"]
    assert {"gunicorn.error", "uvicorn.error", "app.api.middleware", "app.answer.pipeline"} <= {
        item["logger"] for item in told
    }
    (failure,) = [item for item in told if item["message"] == "request.failed"]
    assert failure["request_id"] == broken.json()["request_id"]
    assert "UndefinedTable" in failure["exception"]
    answered = [item for item in told if item["message"] == "query.answered"]
    assert {"request_id", "trace_id", "tenant", "query_hash", "cache", "steps_ms"} <= set(answered[-1])
    everything = "\n".join(lines)
    spans = b"".join(deployed.collector.raw).decode("latin-1")
    for hidden in (*SECRETS.values(), "token-of-the-collector-6", deployed.key.split("_")[2], *words):
        assert hidden not in everything
        assert json.dumps(hidden)[1:-1] not in everything
        assert hidden not in spans


def test_a_database_that_is_away_fails_no_scrape_and_is_seen(deployed: Deployed) -> None:
    deployed.postgres.stop_and_keep()
    try:
        for port in (deployed.port, deployed.worker_port):
            start = time.monotonic()
            seen = deployed.metrics(port)
            assert time.monotonic() - start < 8
            assert seen["anchorage_dependency_up"]["postgres",] == 0
            assert "anchorage_queue_oldest_seconds" not in seen
            assert seen["anchorage_build_info"]
    finally:
        deployed.postgres.start_again()
    for port, most in ((deployed.port, 20), (deployed.worker_port, 10)):
        until(lambda port=port: deployed.metrics(port)["anchorage_dependency_up"]["postgres",] == 1)  # type: ignore[misc]
        # Connections that broke are counted as closed.
        connections = deployed.metrics(port)["anchorage_database_pool_connections"]
        assert 0 <= connections["in_use",] <= 2
        assert 0 <= connections["idle",] <= most
