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

    ``where`` are labels that its alert has beside its name. ``fills`` are the parts in capitals of the runbook's commands: for
    each a command that prints what is to be put there.
    """

    cause: str
    undo: str
    where: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, str] = field(default_factory=dict)


def stopped(unit: str) -> Fault:
    return Fault(f"systemctl stop '{unit}'", f"systemctl start '{unit}'")


def running(name: str, command: str, properties: str = "") -> str:
    """Something that goes on until it is ended."""
    return f"systemd-run --quiet --collect --unit=fault-{name} {properties} sh -c {shlex.quote(command)}"


def ended(name: str) -> str:
    return f"systemctl stop fault-{name}"


def asked(name: str, options: str) -> str:
    """The service gets requests, see ``on_host/load.py``."""
    return running(name, f"exec {PYTHON} {PROGRAMS}/load.py {options}")


def written(name: str, *metrics: str, labels: Mapping[str, str] | None = None) -> Fault:
    """A file of metrics as a timer or a playbook leaves it. In ``metrics`` ``$((now - 60))`` is a minute ago."""
    lines = " ".join('"' + metric.replace('"', '\\"') + '"' for metric in metrics)
    file, former = f"{TEXTFILES}/anchorage_{name}.prom", f"/run/fault-{name}.prom"
    return Fault(
        f"[ ! -e {file} ] || mv {file} {former}; now=$(date +%s); printf '%s\\n' {lines} > {file}",
        f"rm -f {file}; [ ! -e {former} ] || mv {former} {file}",
        where=labels or {},
    )


def together(*commands: str) -> str:
    """One after the other; the first that fails ends it."""
    return "set -e; " + "; ".join(commands)


def each(*commands: str) -> str:
    """All of them, also when one fails, which is told at the end."""
    return "failed=0; " + "; ".join(f"{{ {command}; }} || failed=$?" for command in commands) + "; exit $failed"
