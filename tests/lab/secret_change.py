"""What a change of secrets is judged by: the vault, whom the servers let in, and questions that are asked meanwhile."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from lab.host import Host
from lab.lab import Lab
from lab.up import ROOT, Service
from tests.lab.load import RATE_PER_S, ConstantLoad

# Cached answers would spare Postgres, Qdrant or Redis: each question goes through all that has a secret.
QUESTION = {"query": "How much does a berth cost a night?", "use_cache": False}


def vault(lab: Lab) -> dict[str, Any]:
    """The secrets as the control node has them."""
    lib = VaultLib([("default", VaultSecret((ROOT / ".vault-password").read_bytes().strip()))])
    found: dict[str, Any] = yaml.safe_load(lib.decrypt((lab.directory / "secrets/vault.yml").read_bytes()))
    return found


def accepted(host: Host, secrets: dict[str, Any]) -> dict[str, bool]:
    """Whether each server lets in who has these."""

    def says(command: str) -> str:
        return host.execute("sh", "-c", f"{command} 2>&1 || true").strip()

    redis = says(f"REDISCLI_AUTH={secrets['redis_password']} redis-cli --no-auth-warning PING")
    postgres = says(
        f"PGPASSWORD={secrets['postgres_password']} psql -h 127.0.0.1 -U anchorage -d anchorage -Atc 'SELECT 1'"
    )
    found = {"redis_password": redis == "PONG", "postgres_password": postgres == "1"}
    for name in ("qdrant_api_key", "qdrant_read_only_api_key"):
        asked = f"-H 'api-key: {secrets[name]}' http://127.0.0.1:6333/collections"
        answer = says(f"curl -s -o /dev/null -w '%{{http_code}}' {asked}")
        assert answer in ("200", "401"), answer
        found[name] = answer == "200"
    return found


def make_key(host: Host, name: str) -> str:
    """An API key that may ask."""
    return host.execute("anchorage", "keys", "create", "--name", name, "--scope", "query", root=True).strip()


def questions(at: Service, key: str, rate_per_s: float = RATE_PER_S) -> ConstantLoad:
    """At a constant rate, over HTTPS."""
    return ConstantLoad(
        f"{at.url}/api/v1/query",
        context=ssl.create_default_context(cafile=str(at.ca_file)),
        rate_per_s=rate_per_s,
        method="POST",
        json=QUESTION,
        headers={"X-API-Key": key},
    )


def killed_at(task: str, command: list[str], environment: dict[str, str]) -> None:
    """Run a playbook and kill it, without any chance to tidy up, when it names this task.

    Raises:
        AssertionError: it never did.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("TASK") and task in line:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
    raise AssertionError(f"the playbook ended before {task!r}:\n{''.join(said)[-3000:]}")
