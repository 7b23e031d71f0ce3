"""Server mode as it is deployed, on loopback: Postgres, the lab's Qdrant, gunicorn and a worker, each a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from app.settings import Settings
from tests.lab.qdrant_standin.process import KEY, Standin, free_port
from tests.services.postgres import Postgres


class Servers:
    """``start`` brings all up on an empty database; ``kill`` ends one by SIGKILL and starts it again."""

    NAMES = ("worker", "app", "postgres", "qdrant")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.postgres = Postgres()
        self.qdrant = Standin(directory / "qdrant")
        self.port = free_port()
        self.key = ""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._environment: dict[str, str] = {}

    def start(self) -> Servers:
        self.postgres.start()
        self.qdrant.start()
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATABASE_URL": self.postgres.database(),
            "QDRANT_URL": self.qdrant.url,
            "QDRANT_API_KEY": KEY,
            "SECRET_KEY": "s" * 32,
            "BIND": f"127.0.0.1:{self.port}",
            "UVICORN_WORKERS": "1",
            "JOB_LEASE_SECONDS": "3",
            "JOB_POLL_SECONDS": "0.1",
            "JOB_MAX_ATTEMPTS": "50",
        }
        self._command("migrate")
        self.key = self._command("keys", "create", "--name", "test", "--scope", "query", "--scope", "ingest")
        self._run("app")
        self._run("worker")
        self._supervisor.start()
        self.wait_until_ready()
        return self

    def _supervise(self) -> None:
        """What ends is started again, whatever ended it: `Restart=always`."""
        while not self._ending.wait(0.1):
            for name, process in list(self._processes.items()):
                if process.poll() is not None:
                    self._run(name)

    @property
    def settings(self) -> Settings:
        """For a test that looks into the database and the index."""
        return Settings(database_url=self._environment["DATABASE_URL"], qdrant_url=self.qdrant.url, qdrant_api_key=KEY)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=20, **options)

    def kill(self, name: str) -> None:
        """SIGKILL, and at once a new start, as systemd does."""
        if name == "postgres":
            self.postgres.kill()
        elif name == "qdrant":
            self.qdrant.end(signal.SIGKILL)
            self.qdrant.start()
        else:
            os.killpg(self._processes[name].pid, signal.SIGKILL)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if self.request("GET", "/api/v1/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready within 90 s:\n{(self.directory / 'log').read_text()[-3000:]}")

    def end(self) -> None:
        self._ending.set()
        if self._supervisor.ident is not None:
            self._supervisor.join()
        for process in self._processes.values():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        self.qdrant.end()
        self.postgres.stop()

    def memory_mib(self, name: str) -> float:
        """The most that a process has held at once (VmHWM)."""
        status = Path(f"/proc/{self._processes[name].pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def _run(self, name: str) -> None:
        programs = {
            "app": ["-m", "gunicorn", "--config", "python:app.gunicorn_conf", "app.main:from_environment()"],
            "worker": ["-c", "from app.cli import main; main()", "worker"],
        }
        with (self.directory / "log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *programs[name]],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _command(self, *words: str) -> str:
        program = [sys.executable, "-c", "from app.cli import main; main()", *words]
        return subprocess.check_output(program, env=self._environment, text=True).strip()
