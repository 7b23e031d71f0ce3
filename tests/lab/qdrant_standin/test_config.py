"""The configuration file, the environment over it, and what is refused at start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.qdrant_standin.config import ConfigError, load

from .process import REPOSITORY, Standin


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "service: {http_port: 7000, host: 127.0.0.1}\nstorage: {storage_path: /data}\n")
    config = load(path, {"QDRANT__SERVICE__HTTP_PORT": "7001", "QDRANT__SERVICE__API_KEY": "0x10", "OTHER": "x"})
    assert (config.http_port, config.host, config.storage, config.api_keys) == (
        7001,
        "127.0.0.1",
        Path("/data"),
        ("0x10",),
    )


def test_an_empty_key_counts_as_unset_as_in_the_real_server(tmp_path: Path) -> None:
    assert load(write(tmp_path, "service: {api_key: ''}"), {}).api_keys == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("service: [", "not valid YAML"),
        ("servce: {}", "unknown section servce"),
        ("- a", "must be a mapping"),
        ("service: {http_port: 99999}", "`http_port` is 99999"),
        ("service: {enable_tls: true}", "`tls.cert` is not set"),
        ("cluster: {enabled: true}", "no cluster mode"),
        ("service: {jwt_rbac: true}", "no JWT"),
        ("service: {metrics_port: 9}", "metrics_port"),
    ],
)
def test_bad_configuration_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text), {})


def test_start_failures_end_with_status_1_and_a_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.qdrant_standin", "--config-path", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "can't read" in done.stderr


def test_port_in_use_ends_with_status_1(standin: Standin, tmp_path: Path) -> None:
    second = Standin(tmp_path / "second")
    second.config["service"]["http_port"] = standin.port
    process = second.spawn()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"Address already in use" in errors


def test_not_ready_fault_switch(tmp_path: Path) -> None:
    server = Standin(tmp_path / "slow").start(QDRANT_STANDIN_FAULT_NOT_READY_S="30", QDRANT_STANDIN_VERSION="1.18.2")
    try:
        with server.http(None) as http:
            assert http.get("/readyz").status_code == 503
            assert http.get("/").json()["version"] == "1.18.2"
    finally:
        server.end()
