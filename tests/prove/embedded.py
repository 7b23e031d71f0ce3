"""Embedded mode: from a clone to a cited answer, cold and warm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx

from tests.prove.clone import fresh_clone
from tests.prove.scorecard import Figure

QUESTION = "Which command runs the service on this machine?"


def measure() -> list[Figure]:
    """Two starts of `make serve` in one fresh clone."""
    with fresh_clone() as (clone, environment):
        cold = _until_answered(clone, environment, ingest=True)
        warm = _until_answered(clone, environment, ingest=False)
    return [
        Figure("clone to a cited answer, embedded mode, cold", "≤ 90 s", f"{cold:.1f} s", cold <= 90),
        Figure("start to a cited answer, embedded mode, warm", "≤ 5 s", f"{warm:.1f} s", warm <= 5),
    ]


def _until_answered(clone: Path, environment: dict[str, str], *, ingest: bool) -> float:
    start = time.monotonic()
    server = subprocess.Popen(["make", "serve"], cwd=clone, env=environment, start_new_session=True)
    try:
        _wait_until_ready()
        command = str(clone / ".venv/bin/anchorage")
        if ingest:
            subprocess.run([command, "ingest", "README.md"], cwd=clone, env=environment, check=True)
        key = (clone / "var/api-key").read_text().strip()
        answer = httpx.post(
            "http://127.0.0.1:8080/api/v1/query",
            json={"query": QUESTION},
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        ).json()
        if not answer["citations"]:
            raise RuntimeError(f"no cited answer: {json.dumps(answer)}")
        return time.monotonic() - start
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _wait_until_ready() -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if httpx.get("http://127.0.0.1:8080/api/v1/ready").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError("the service did not get ready in 300 s")
