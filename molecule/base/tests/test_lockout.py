"""Settings of sshd that the control node could not log in with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from testinfra.host import Host  # type: ignore[import-untyped]

SCENARIO = Path(__file__).resolve().parents[1]
SETTINGS = "/etc/ssh/sshd_config.d/00-anchorage.conf"
testinfra_hosts = ["ansible://base13"]


def test_settings_that_would_lock_out_are_taken_back_by_the_host_itself(host: Host) -> None:
    with host.sudo():
        before = host.check_output(f"cat {SETTINGS}")
    variables = {
        "base_ssh_key_exchange": ["sntrup761x25519-sha512@openssh.com"],
        "base_ssh_confirm_within_sec": 20,
        "ansible_ssh_extra_args": "-o KexAlgorithms=curve25519-sha256",
    }
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")]
    command += ["--limit", host.backend.host, "-e", json.dumps(variables)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)  # noqa: S603
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "keeps its former settings" in told, told[-2000:]
    assert "Its SSH must know one of base_ssh_ciphers, base_ssh_key_exchange" in told
    with host.sudo():
        assert host.check_output(f"cat {SETTINGS}") == before
        assert "kexalgorithms mlkem768x25519-sha256" in host.check_output("sshd -T")
