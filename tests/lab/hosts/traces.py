"""What a lab holds of this machine, found without asking the lab manager."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab import Lab
from lab.cgroup import Cgroup


def of_lab(lab: Lab) -> dict[str, list[str]]:
    """Everything by kind; call it while the lab is up to learn what `gone` has to look for."""
    slot = json.loads((lab.directory / "lab.json").read_text())["slot"]
    return {
        "links": [name for name in _links() if name == f"anclab{slot}" or name.startswith(f"vb-al{slot:x}")],
        "nft tables": [table for table in _nft_tables() if table == f"anclab{slot}"],
        "mounts": [point for point in _mounts() if Path(point).is_relative_to(lab.directory)],
        "cgroups": [str(path) for host in lab.hosts for path in Cgroup(host.machine).paths if path.is_dir()],
        "processes": [pid for host in lab.hosts for pid in _processes(str(host.disk.root))],
        "files": [str(lab.directory)],
    }


def left(held: dict[str, list[str]]) -> dict[str, list[str]]:
    """What of that is still there."""
    now = {
        "links": _links(),
        "nft tables": _nft_tables(),
        "mounts": _mounts(),
        "cgroups": [path for path in held["cgroups"] if Path(path).exists()],
        "processes": [pid for pid in held["processes"] if _runs(pid)],
        "files": [path for path in held["files"] if Path(path).exists()],
    }
    return {kind: found for kind, names in held.items() if (found := [name for name in names if name in now[kind]])}


def _links() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir()]


def _nft_tables() -> list[str]:
    said = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return [entry["table"]["name"] for entry in json.loads(said)["nftables"] if "table" in entry]


def _mounts() -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]


def _runs(pid: str) -> bool:
    """Whether it lives; one that is dead may wait a moment for its parent, which is this machine's process 1."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _processes(text: str) -> list[str]:
    """Process ids whose command line names something."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if text in line:
            found.append(path.parent.name)
    return found
