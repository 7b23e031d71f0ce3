"""Follows a runbook: its commands are run where it says, and each must do what the page has it for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.host import Host
from lab.lab import Lab
from lab.system import LabError
from lab.up import ROOT, service
from tests.lab.alerts.fault import Fault
from tests.lab.stack.conftest import play_environment

RUNBOOKS = ROOT / "docs/runbooks"
LOOK, DO, OVER = "Look", "Do", "It is over when"
AT_MOST_S = 300
CA = "/etc/anchorage/tls/ca.crt"
# While something is wrong these say so by their status. Nothing else may fail.
SAYS_SO = {
    "systemctl status": {3},
    "anchorage doctor": {1},
    "nginx -t": {1},
    "ssh": {255},
    "promtool check config": {1},
    "amtool check-config": {1},
    # It does not come through, at whichever step: that is what is looked for.
    "curl": set(range(3, 93)),
    "ansible-playbook site.yml --check": {2},
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One command of a page as it was run, its exit status, and what is wrong with that (empty: nothing)."""

    section: str
    command: str
    status: int
    wrong: str


def commands(page: str, section: str) -> list[str]:
    """The lines of a section's indented blocks; what is said in text is for a person to weigh."""
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"no section {section!r}")
    return [line[4:] for line in found[1].splitlines() if line.startswith("    ")]


def blanks(command: str) -> set[str]:
    """Parts in capitals that are the reader's to fill in."""
    return set(re.findall(r"\b(?:UNIT|MOUNT|HOST|NAME|JOB|PID|PREFIX)\b", command))


@dataclass(frozen=True, slots=True)
class Reader:
    """Who follows the pages: root on the lab's host, with the settings that the runbooks' README names."""

    lab: Lab
    host: Host

    def follow(self, alert: str, fault: Fault, section: str) -> list[Ran]:
        """Run a section's commands in their order."""
        page = (RUNBOOKS / f"{alert}.md").read_text()
        done = []
        for line in commands(page, section):
            command = line
            for blank in blanks(line):
                if blank not in fault.fills:
                    raise ValueError(f"{alert}: nothing to put for {blank}")
                filling = self._run(fault.fills[blank]).stdout.strip()
                if not filling:
                    raise LabError(f"{alert}: nothing was found to put for {blank}")
                command = re.sub(rf"\b{blank}\b", filling, command)
            ran = self._run(command)
            done.append(Ran(section, command, ran.returncode, _wrong(section, command, ran)))
        return done

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        words, directory, environment = self._place(command)
        try:
            return subprocess.run(
                words,
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=AT_MOST_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"`{command}` did not end within {AT_MOST_S} s") from None

    def _place(self, command: str) -> tuple[list[str], Path, Mapping[str, str]]:
        first, *others = command.split()
        environment = {**play_environment(self.lab), "ANSIBLE_INVENTORY": "inventories/lab"}
        if first == "ssh":
            # By the lab's key.
            return self.host.ssh_command(*others[1:]), ROOT, environment
        if first == "ansible-playbook":
            return ["sh", "-c", command], ROOT, environment
        at = service(self.lab)
        settings = f"export ANCHORAGE_URL={at.url} ANCHORAGE_API_KEY={at.api_key} ANCHORAGE_CA_FILE={CA}\n"
        return self.host.ssh_command("sh", "-c", settings + command, root=True), ROOT, environment


def _wrong(section: str, command: str, ran: subprocess.CompletedProcess[str]) -> str:
    allowed = {0}
    if section == LOOK:
        allowed |= next((statuses for start, statuses in SAYS_SO.items() if command.startswith(start)), set())
    if ran.returncode not in allowed:
        return f"status {ran.returncode}: {(ran.stderr or ran.stdout).strip()[-200:]}"
    if section == LOOK and "promtool query" in command and not ran.stdout.strip():
        return "the query finds nothing"
    return ""
