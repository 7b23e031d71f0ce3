"""The stand-in as a real process on a loopback port, for tests that start, kill and restart it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from qdrant_client import QdrantClient

REPOSITORY = Path(__file__).resolve().parents[3]
KEY, READ_ONLY, NEXT_KEY = "full-key", "read-key", "next-key"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


class Standin:
    """One storage directory and the process that serves it."""

    def __init__(self, directory: Path, command: list[str] | None = None, **service: Any) -> None:
        self.directory = directory
        self.port = free_port()
        self.scheme = "https" if service.get("enable_tls") else "http"
        self.command = command or [sys.executable, "-m", "lab.qdrant_standin"]
        self.process: subprocess.Popen[bytes] | None = None
        tls = service.pop("tls", {})
        keys = {"api_key": KEY, "read_only_api_key": READ_ONLY, "alt_api_key": NEXT_KEY}
        self.config: dict[str, Any] = {
            "service": {"host": "127.0.0.1", "http_port": self.port, "grpc_port": None} | keys | service,
            "storage": {"storage_path": str(directory / "storage"), "snapshots_path": str(directory / "snapshots")},
            "tls": tls,
        }

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def spawn(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process without waiting for it to serve."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "config.yaml"
        path.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return subprocess.Popen(
            [*self.command, "--config-path", str(path), "--disable-telemetry", *arguments],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], **environment},
            stderr=subprocess.PIPE,
        )

    def start(self, *arguments: str, **environment: str) -> Standin:
        self.process = self.spawn(*arguments, **environment)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                raise AssertionError(f"the stand-in ended at start: {self.process.stderr.read().decode()}")
            try:
                if self._answers():
                    return self
            except httpx.TransportError:
                time.sleep(0.03)
        raise AssertionError("the stand-in did not answer within 20 s")

    def _answers(self) -> bool:
        # Only whether somebody answers; who it is, is the TLS test's business.
        return httpx.get(f"{self.url}/healthz", verify=False, timeout=2).status_code == 200  # noqa: S501

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout=20)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return status

    def client(self, key: str = KEY) -> QdrantClient:
        return QdrantClient(url=self.url, api_key=key, timeout=30, check_compatibility=False, prefer_grpc=False)

    def http(self, key: str | None = KEY) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"api-key": key} if key else {}, timeout=30)
