"""A lab: hosts that belong together, in a network of their own, remembered on disk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lab.host import Host, HostRecord, copy_layer
from lab.image import USER, image
from lab.network import SUBNETS, Network
from lab.system import STATE, LabError, cgroup_root, locked, remove_tree, require, run

LABS = STATE / "labs"


class Lab:
    """Open a lab by its name; nothing is made before ``up``."""

    def __init__(self, name: str) -> None:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise LabError(f"{name!r} is no name for a lab; use letters, digits and dashes")
        self.name = name
        self.directory = LABS / name
        self._file = self.directory / "lab.json"
        self.identity = self.directory / "id_ed25519"

    @property
    def exists(self) -> bool:
        return self._file.exists()

    @property
    def hosts(self) -> list[Host]:
        """The hosts in order of creation. Raises LabError when there is no such lab."""
        state = self._state()
        network = Network(state["slot"])
        records = [HostRecord(**{**entry, "layers": tuple(entry["layers"])}) for entry in state["hosts"]]
        return [Host(record, self.directory / "hosts" / record.name, network, self.identity) for record in records]

    def host(self, name: str) -> Host:
        """One host by name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"lab {self.name} has no host {name}; it has {', '.join(h.name for h in self.hosts) or 'none'}")

    def up(self, wanted: Iterable[tuple[str, str]], snapshots: dict[str, str] | None = None) -> list[Host]:
        """Create what is missing of ``(name, release)``, boot all of it, return when SSH answers everywhere.

        ``snapshots`` starts a new host from the named snapshot instead of the bare release.
        """
        require()
        wanted = list(wanted)
        self._create()
        with locked(f"lab-{self.name}"):
            state = self._state()
            known = {entry["name"]: entry for entry in state["hosts"]}
            for name, release in wanted:
                if name in known:
                    if known[name]["release"] != release:
                        raise LabError(f"host {name} of lab {self.name} runs {known[name]['release']}, not {release}")
                    continue
                snapshot = (snapshots or {}).get(name)
                layers = ([str(self._snapshot(snapshot))] if snapshot else []) + [str(image(release))]
                taken = {entry["index"] for entry in state["hosts"]}
                index = next(i for i in range(14) if i not in taken)
                state["hosts"].append(HostRecord(name, release, index, tuple(layers)).to_json())
            self._write(state)
            Network(state["slot"]).up()
        names = {name for name, _ in wanted}
        chosen = [host for host in self.hosts if host.name in names]
        for host in chosen:
            host.start(self.addresses())
        for host in chosen:
            host.wait()
        return chosen

    def start(self, name: str) -> Host:
        """Boot a host that is off and wait for it."""
        host = self.host(name)
        Network(self._state()["slot"]).up()
        host.start(self.addresses())
        host.wait()
        return host

    def down(self) -> None:
        """Destroy the hosts, the network and what is on disk, also of a lab that was left half-made."""
        if not self.directory.exists():
            return
        with locked(f"lab-{self.name}"):
            if self.exists:
                for host in self.hosts:
                    host.destroy()
                Network(self._state()["slot"]).down()
            remove_tree(self.directory)
        (STATE / f"lab-{self.name}.lock").unlink(missing_ok=True)
        for root in (cgroup_root(), Path("/sys/fs/cgroup/systemd")):
            shared = root / "anchorage-lab"
            if shared.is_dir() and not any(path.is_dir() for path in shared.iterdir()):
                shared.rmdir()

    def snapshot(self, name: str, snapshot: str) -> None:
        """Keep a host's disk under a name; the host is powered off for it and started again."""
        host = self.host(name)
        was_alive = host.alive
        host.stop()
        host.unmount()
        copy_layer(host.upper, self._snapshot(snapshot))
        if was_alive:
            self.start(name)

    def restore(self, name: str, snapshot: str) -> None:
        """Put a host's disk back to a snapshot and boot it."""
        source = self._snapshot(snapshot)
        if not source.is_dir():
            raise LabError(f"lab {self.name} has no snapshot {snapshot}")
        host = self.host(name)
        host.kill()
        host.unmount()
        remove_tree(host.directory / "work")
        copy_layer(source, host.upper)
        self.start(name)

    def addresses(self) -> dict[str, str]:
        """Address by name, of all hosts."""
        return {host.name: host.address for host in self.hosts}

    def inventory(self) -> list[dict[str, Any]]:
        """How to reach each host by SSH; the keys are molecule's."""
        return [
            {
                "instance": host.name,
                "address": host.address,
                "user": USER,
                "port": 22,
                "identity_file": str(self.identity),
            }
            for host in self.hosts
        ]

    def _snapshot(self, name: str) -> Path:
        return self.directory / "snapshots" / name

    def _create(self) -> None:
        with locked("slots"):
            if self.exists:
                return
            taken = {json.loads(path.read_text())["slot"] for path in LABS.glob("*/lab.json")}
            free = next((slot for slot in range(len(SUBNETS)) if slot not in taken), None)
            if free is None:
                raise LabError(f"all {len(SUBNETS)} networks are taken; `python -m lab ls` lists the labs")
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self.identity.exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {self.name}", "-f", self.identity)
            self._write({"slot": free, "hosts": []})

    def _state(self) -> dict[str, Any]:
        if not self.exists:
            raise LabError(f"there is no lab {self.name}; `python -m lab ls` lists those there are")
        state: dict[str, Any] = json.loads(self._file.read_text())
        return state

    def _write(self, state: dict[str, Any]) -> None:
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2))
        partial.rename(self._file)


def all_labs() -> list[Lab]:
    """Every lab that is on this machine, half-made ones too."""
    return [Lab(path.name) for path in sorted(LABS.iterdir())] if LABS.is_dir() else []


def for_each_lab(action: Callable[[Lab], None]) -> None:
    """Do something with every lab; one that fails doesn't keep the others from it."""
    failures = []
    for lab in all_labs():
        try:
            action(lab)
        except (LabError, OSError, subprocess.SubprocessError) as error:
            failures.append(f"{lab.name}: {error}")
    if failures:
        raise LabError("; ".join(failures))
