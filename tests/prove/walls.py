"""What nmap finds from a neighbour, on each host of each topology."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.inventory import GROUPS, NEIGHBOUR, PARTS
from lab.lab import Lab
from lab.up import put_artifacts
from tests.lab.scan import install, open_ports
from tests.prove.scorecard import ROOT, Figure

SSH = {"tcp/22"}
PUBLIC = SSH | {"tcp/80", "tcp/443"}


@dataclass(frozen=True, slots=True)
class Topology:
    """Its hosts, whose names say what they are for."""

    name: str
    hosts: Sequence[str]


TOPOLOGIES = (Topology("one host", ("anchorage",)), Topology("data apart", ("front", "data")))


def measure() -> list[Figure]:
    """Each topology in a lab of its own; `site.yml` ends with a question that is answered through all parts."""
    return [figure for topology in TOPOLOGIES for figure in _scan(topology)]


def _scan(topology: Topology) -> list[Figure]:
    lab = Lab("prove-walls")
    lab.down()
    try:
        lab.up([(name, "trixie") for name in (*topology.hosts, NEIGHBOUR)])
        put_artifacts(lab)
        _provision(lab)
        neighbour = lab.host(NEIGHBOUR)
        install(neighbour)
        return [
            _figure(
                f"{topology.name}, on `{name}`",
                PUBLIC if "edge" in PARTS.get(name, GROUPS) else SSH,
                open_ports(neighbour, lab.host(name).address, retries=3, top_udp=1000),
            )
            for name in topology.hosts
        ]
    finally:
        lab.down()


def _figure(what: str, allowed: set[str], found: set[str]) -> Figure:
    return Figure(
        f"open to a neighbour's nmap (all TCP, 1,000 UDP ports): {what}",
        _listed(allowed),
        _listed(found),
        found == allowed,
    )


def _listed(ports: set[str]) -> str:
    return ", ".join(sorted(ports, key=lambda port: (port.split("/")[0], int(port.split("/")[1])))) or "none"


def _provision(lab: Lab) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["ansible-playbook", "-i", "inventories/lab", "site.yml"],
        cwd=ROOT,
        env={**os.environ, "ANCHORAGE_LAB": lab.name, "PATH": path},
        check=True,
    )
