"""What it costs to be watched: metrics, logs and traces on, as a host has them, against all of them off.

Two services, each a process of its own, are asked in turns of a few seconds, so that a machine that changes its speed
changes both. The watched one is scraped in each of its turns, and its traces go to a collector.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx

ROUNDS = 12
# Also how often the watched one is scraped; Prometheus does it a third as often.
TURN_SECONDS = 5.0
AT_A_TIME = 2
WARM_UP_SECONDS = 5.0
DOCUMENTS = 30
OFF = {"ENABLE_METRICS": "false", "LOG_LEVEL": "ERROR"}
ON = {"ENABLE_METRICS": "true", "LOG_LEVEL": "INFO"}


@dataclass
class Turns:
    """What one service did in each turn: requests a second, their 95th percentile, its processor's time for one."""

    rates: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """By kind of question: the share of throughput that is lost, and what p95 and the processor's time gain.

    0.01 is one percent. The processor's time also tells on a machine that does something else beside.
    """

    kind: str
    throughput: float
    p95: float
    cpu: float


@dataclass(frozen=True)
class Service:
    """A service on loopback."""

    port: int
    key: str
    pid: int

    def cpu_s(self) -> float:
        """Seconds of the processor that it has used so far, all its threads."""
        values = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def measure() -> list[Cost]:
    """Questions that are answered from the documents, and such that come from the cache."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        collector = stack.enter_context(_collector())
        metrics = directory / "metrics"
        metrics.mkdir()
        watched = ON | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
        services = [
            stack.enter_context(_served(directory / "off", OFF)),
            stack.enter_context(_served(directory / "on", watched)),
        ]
        for service in services:
            _fill(service)
        return [asyncio.run(_cost(services, kind)) for kind in ("answered", "cached")]


def main() -> None:
    """Print both."""
    for cost in measure():
        print(  # noqa: T201
            f"watching, {cost.kind} questions: throughput {-cost.throughput:+.1%}, p95 {cost.p95:+.1%}, "
            f"processor's time {cost.cpu:+.1%}"
        )


async def _cost(services: Sequence[Service], kind: str) -> Cost:
    turns = [Turns(), Turns()]
    numbers = count()
    for service in services:
        await _turn(service, Turns(), kind, WARM_UP_SECONDS, numbers)
    for turn in range(ROUNDS):
        # Whoever is first in one round is second in the next.
        for which in (0, 1) if turn % 2 else (1, 0):
            await _turn(services[which], turns[which], kind, TURN_SECONDS, numbers)
    off, on = turns
    return Cost(
        kind,
        1 - statistics.median(b / a for a, b in zip(off.rates, on.rates, strict=True)),
        statistics.median(b / a for a, b in zip(off.p95_ms, on.p95_ms, strict=True)) - 1,
        sum(on.cpu_ms) / sum(off.cpu_ms) - 1,
    )


async def _turn(service: Service, turns: Turns, kind: str, seconds: float, numbers: Iterator[int]) -> None:
    async def scrape() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        await _exchange(reader, writer, b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")
        writer.close()

    start, used = time.perf_counter(), service.cpu_s()
    scraping = asyncio.create_task(scrape())
    asked = await asyncio.gather(*(_ask(service, kind, start + seconds, numbers) for _ in range(AT_A_TIME)))
    taken = [one for of_client in asked for one in of_client]
    await scraping
    turns.rates.append(len(taken) / (time.perf_counter() - start))
    turns.cpu_ms.append((service.cpu_s() - used) / len(taken) * 1000)
    turns.p95_ms.append(statistics.quantiles(taken, n=20)[-1] * 1000)


async def _ask(service: Service, kind: str, until: float, numbers: Iterator[int]) -> list[float]:
    """One question after the other; the seconds of each."""
    taken: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    while (start := time.perf_counter()) < until:
        number = next(numbers) if kind == "answered" else 0
        body = json.dumps({"query": f"What does a berth at pier {number % DOCUMENTS} cost, case {number}?"}).encode()
        head = f"POST /api/v1/query HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {service.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = await _exchange(reader, writer, head.encode() + body)
        expected = "miss" if kind == "answered" else "exact"
        if f'"status":"{expected}"'.encode() not in answer and taken:
            raise RuntimeError(f"not {expected}: {answer[:500]!r}")
        taken.append(time.perf_counter() - start)
    writer.close()
    return taken


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """A client that takes little of the machine beside what it measures."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


@contextmanager
def _served(directory: Path, environment: dict[str, str]) -> Iterator[Service]:
    directory.mkdir()
    port = _free_port()
    program = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(port)]
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "EMBEDDING_THREADS": "1"}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            program, env=inherited | {"DATA_DIR": str(directory)} | environment, stdout=log, stderr=log
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/v1/ready", directory / "log")
            yield Service(port, (directory / "api-key").read_text().strip(), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


@contextmanager
def _collector() -> Iterator[str]:
    """A process that takes whatever it is sent."""
    program = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _fill(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", headers=headers, timeout=60) as client:
        for number in range(DOCUMENTS):
            text = f"# Pier {number}\n\nA berth at pier {number} costs {20 + number} euros a night."
            sent = {"text": text, "title": f"Pier {number}", "media_type": "text/markdown"}
            client.post("/api/v1/documents", json=sent).raise_for_status()
        deadline = time.monotonic() + 60
        while client.get("/api/v1/jobs", params={"state": "queued"}).json()["jobs"] and time.monotonic() < deadline:
            time.sleep(0.1)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the service did not get ready: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
