"""A new authority takes over: at no moment does a host refuse what another one shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from rerun import PROJECT, SCENARIO, TLS, play
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://cert13"]


def step(*options: str) -> subprocess.CompletedProcess[str]:
    """The operator's playbook, with the scenario's variables in place of an inventory's."""
    variables = ["-e", f"@{SCENARIO / 'vars/main.yml'}", "-e", '{"certificates_authority_units": []}']
    return play(
        PROJECT / "playbooks/new_authority.yml", *variables, *options, ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg")
    )


def trusts(client: Host, server: Host) -> bool:
    """Whether the client's authorities signed what the server shows."""
    certificate = server.file(f"{TLS}/web.crt").content_string
    return bool(client.run("printf %s '" + certificate + f"' | openssl verify -CAfile {TLS}/ca.crt").rc == 0)


def test_a_new_authority_takes_over_in_three_steps(host: Host) -> None:
    hosts = [host, Host.get_host("ansible://cert12", ansible_inventory=host.backend.ansible_inventory)]
    authority = Path(host.ansible.get_variables()["ansible_private_key_file"]).parent / "ca"
    old = (authority / "ca.crt").read_text()
    old_leaf = host.file(f"{TLS}/web.crt").content_string

    limited = step("--limit", "cert13", "--tags", "announce")
    assert limited.returncode != 0
    assert "Run without --limit" in " ".join(limited.stdout.split())

    for tag in ("announce", "change", "forget"):
        done = step("--tags", tag)
        assert done.returncode == 0, done.stdout
        assert all(trusts(client, server) for client in hosts for server in hosts), tag
        again = step("--tags", tag)
        assert not re.search(r"changed=[1-9]", again.stdout), again.stdout
        renewed = host.file(f"{TLS}/web.crt").content_string != old_leaf
        assert renewed == (tag != "announce")

    new = (authority / "ca.crt").read_text()
    assert new != old
    assert [host.file(f"{TLS}/ca.crt").content_string for host in hosts] == [new, new]
    assert sorted(file.name for file in authority.iterdir()) == ["ca.crt", "ca.key"]
    assert (authority / "ca.key").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert host.run("printf %s '" + old_leaf + f"' | openssl verify -CAfile {TLS}/ca.crt").rc != 0
