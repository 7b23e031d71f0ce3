"""The built tarball has the official shape, is reproducible, and runs on the system's bare Python."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from qdrant_client import models

from .process import REPOSITORY, Standin


def build(outdir: Path, *arguments: str) -> dict[str, str]:
    command = [sys.executable, "-m", "lab.qdrant_standin.build", str(outdir), *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    built: dict[str, str] = json.loads(done.stdout)
    return built


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artifact")
    first, again = build(directory / "a", "--version", "1.18.3"), build(directory / "b", "--version", "1.18.3")
    assert first["sha256"] == again["sha256"]
    with tarfile.open(first["path"]) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.mode, member.isfile()) == ("qdrant", 0o755, True)
        tar.extract(member, directory)
    return directory / "qdrant"


def test_version_line_begins_like_the_real_one_and_says_what_it_is(executable: Path) -> None:
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.startswith("qdrant 1.18.3 (lab-edge")
    assert "not the real server" in done.stdout


def test_it_serves_and_keeps_data_without_the_virtual_environment(executable: Path, tmp_path: Path) -> None:
    server = Standin(tmp_path / "s", [str(executable)]).start()
    try:
        client = server.client()
        client.create_collection("c", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert("c", [models.PointStruct(id=1, vector=[1.0, 2.0], payload={"a": 1})], wait=True)
        server.end()
        server.start()
        (point,) = server.client().query_points("c", query=[1.0, 1.0], with_payload=True).points
        assert (point.id, point.score, point.payload) == (1, 3.0, {"a": 1})
    finally:
        server.end()


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.qdrant_standin.build", str(tmp_path), "--version", "latest"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "must look like 1.19.0" in done.stderr
