"""What a fault is, and the forms that many share. All commands are shell, as root on the lab's host."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

# Where the programs of ``on_host`` are, while a receiver listens.
PROGRAMS = "/root/alerts"
# The service's own interpreter, which has what a client needs.
PYTHON = "/opt/anchorage/current/venv/bin/python"
TEXTFILES = "/var/lib/prometheus/node-exporter"


@dataclass(frozen=True, slots=True)
class Fault:
    """How something is made to go wrong, and how that is undone.

    ``where`` are labels that its alert has beside its name. ``fills`` are the parts in capitals of the runbook's
    commands: for each a command that prints what is to be put there. ``mend`` is what the runbook leaves to its reader
    before its cure.
    """

    cause: str
    undo: str
    where: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, str] = field(default_factory=dict)
    mend: str = ""


def stopped(unit: str) -> Fault:
    return Fault(f"systemctl stop '{unit}'", f"systemctl start '{unit}'")


def running(name: str, command: str, properties: str = "") -> str:
    """Something that goes on until it is ended."""
    # systemd puts its own variables for a single dollar.
    command = shlex.quote(command.replace("$", "$$"))
    return f"systemd-run --quiet --collect --unit=fault-{name} {properties} sh -c {command}"


def ended(name: str) -> str:
    """It may be over already, as a cure may have ended it."""
    return f'if [ "$(systemctl show -P LoadState fault-{name})" = loaded ]; then systemctl stop fault-{name}; fi'


def asked(name: str, options: str) -> str:
    """The service gets requests, see ``on_host/load.py``."""
    return running(name, f"exec {PYTHON} {PROGRAMS}/load.py {options}")


def written(name: str, *metrics: str, fills: Mapping[str, str] | None = None) -> Fault:
    """A file of metrics as a timer or a playbook leaves it. In ``metrics`` ``$((now - 60))`` is a minute ago."""
    lines = " ".join('"' + metric.replace('"', '\\"') + '"' for metric in metrics)
    file, former = f"{TEXTFILES}/anchorage_{name}.prom", f"/run/fault-{name}.prom"
    return Fault(
        f"[ ! -e {file} ] || mv {file} {former}; now=$(date +%s); printf '%s\\n' {lines} > {file}",
        f"rm -f {file}; [ ! -e {former} ] || mv {former} {file}",
        fills=fills or {},
    )


def unit(name: str, program: str) -> str:
    """A unit that can be started again, as no transient one can."""
    for special in "%$":
        program = program.replace(special, 2 * special)
    lines = ("[Service]", "Type=oneshot", f"ExecStart=/bin/sh -c {shlex.quote(program)}")
    said = " ".join(shlex.quote(line) for line in lines)
    return f"printf '%s\\n' {said} > /run/systemd/system/{name}.service; systemctl daemon-reload"


def no_unit(name: str) -> str:
    return f"rm -f /run/systemd/system/{name}.service; systemctl daemon-reload"


def together(*commands: str) -> str:
    """One after the other; the first that fails ends it."""
    return "set -e; " + "; ".join(commands)


def each(*commands: str) -> str:
    """All of them, also when one fails, which is told at the end."""
    return "failed=0; " + "; ".join(f"{{ {command}; }} || failed=$?" for command in commands) + "; exit $failed"
