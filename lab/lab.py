"""A lab: hosts that belong together, in a network of their own, remembered on disk."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lab.cgroup import remove_parent
from lab.disk import saved_layers
from lab.host import Host, HostRecord
from lab.image import USER, check_release, image, unused
from lab.network import DEFAULT_RANGE, HOSTS_A_LAB, SLOTS, Network, stop_forwarding
from lab.system import STATE, LabError, announce, locked, remove_tree, require, run

LABS = STATE / "labs"
LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class HostSpec(NamedTuple):
    """A host that is wanted; ``snapshot`` (NAME or HOST/NAME) makes it from another host's disk."""

    name: str
    release: str = "trixie"
    snapshot: str = ""


class Lab:
    """Open a lab by its name; nothing is made before ``up``."""

    def __init__(self, name: str) -> None:
        if not LAB_NAME.fullmatch(name):
            raise LabError(f"{name!r} is no name for a lab; use letters, digits, dashes and underscores")
        self.name = name
        self.directory = LABS / name
        self.identity = self.directory / "id_ed25519"
        self._file = self.directory / "lab.json"

    @property
    def exists(self) -> bool:
        return self._file.exists()

    @property
    def hosts(self) -> list[Host]:
        """The hosts in order of creation. Raises LabError when there is no such lab."""
        state = self._state()
        network = _network(state)
        records = [HostRecord(**{**entry, "layers": tuple(entry["layers"])}) for entry in state["hosts"]]
        return [Host(record, self.directory / "hosts" / record.name, network, self.identity) for record in records]

    def host(self, name: str) -> Host:
        """One host by name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"lab {self.name} has no host {name}; it has {', '.join(h.name for h in self.hosts) or 'none'}")

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

    def up(self, wanted: Iterable[HostSpec | tuple[str, str]]) -> list[Host]:
        """Create what is missing, boot all of it, return when SSH answers everywhere.

        Raises:
            LabError: a host exists with another release, there is no room, or one did not come up.
        """
        require()
        specs = [HostSpec(*entry) for entry in wanted]
        for spec in specs:
            if not HOST_NAME.fullmatch(spec.name):
                raise LabError(f"{spec.name!r} is no name for a host; use small letters, digits and dashes")
            check_release(spec.release)
        self._create()
        with self._locked():
            self._add(specs)
            _network(self._state()).up()
            addresses = self.addresses()
            names = {spec.name for spec in specs}
            for host in self.hosts:
                if host.alive:
                    host.disk.write_hosts(addresses)
            chosen = [host for host in self.hosts if host.name in names]
            _for_each(chosen, lambda host: host.start(addresses))
        _for_each(chosen, Host.wait)
        return chosen

    def start(self, name: str) -> Host:
        """Boot a host that is off and wait for it."""
        host = self.host(name)
        with self._locked():
            self._start(host)
        host.wait()
        return host

    def down(self) -> None:
        """Destroy the hosts, the network and what is on disk, also of a lab that was left half-made."""
        if not self.directory.exists():
            return
        with self._locked() as lock:
            if self.exists:
                for host in self.hosts:
                    host.destroy()
                _network(self._state()).down()
            with locked("slots"):
                remove_tree(self.directory)
                if not any(LABS.iterdir()):
                    stop_forwarding()
                    remove_parent()
            lock.unlink()

    def save_journals(self, directory: Path) -> None:
        """Write each host's journal to HOST.log there; one that can't be read is announced and passed over."""
        directory.mkdir(parents=True, exist_ok=True)
        for host in self.hosts:
            try:
                (directory / f"{host.name}.log").write_text(host.journal())
            except LabError as error:
                announce(f"no journal of {host.name}: {error}")

    def snapshot(self, name: str, snapshot: str) -> None:
        """Keep a host's disk under a name; the host is powered off for it and started again.

        Raises:
            LabError: hosts stand on the snapshot of this name that is there already.
        """
        host = self.host(name)
        target = self._snapshots(snapshot) / name
        standing = [other.name for other in self.hosts if str(target / "upper") in other.record.layers]
        if standing:
            raise LabError(f"{', '.join(standing)} stand on snapshot {snapshot} of {name}; choose another name")
        with self._locked():
            was_alive = host.alive
            host.stop()
            host.disk.unmount()
            host.disk.save(target, host.record.release)
            if was_alive:
                self._start(host)
        if was_alive:
            host.wait()

    def restore(self, name: str, snapshot: str) -> None:
        """Put a host's disk back to a snapshot of it and boot it."""
        host = self.host(name)
        source = self._snapshots(snapshot) / name
        if not source.is_dir():
            raise LabError(f"host {name} of lab {self.name} has no snapshot {snapshot}")
        with self._locked():
            host.kill()
            host.disk.load(source)
            self._start(host)
        host.wait()

    def _start(self, host: Host) -> None:
        require()
        _network(self._state()).up()
        host.start(self.addresses())

    def _add(self, specs: list[HostSpec]) -> None:
        """Write down the hosts that are new."""
        state = self._state()
        known = {entry["name"]: entry["release"] for entry in state["hosts"]}
        for spec in specs:
            if known.get(spec.name, spec.release) != spec.release:
                raise LabError(f"host {spec.name} of lab {self.name} runs {known[spec.name]}, not {spec.release}")
        new = [spec for spec in dict.fromkeys(specs) if spec.name not in known]
        releases = sorted({spec.release for spec in new if not spec.snapshot})
        with ThreadPoolExecutor() as pool:
            trees = dict(zip(releases, pool.map(image, releases), strict=True))
        for spec in new:
            layers = self._layers_of_snapshot(spec) if spec.snapshot else (str(trees[spec.release]),)
            taken = {entry["index"] for entry in state["hosts"]}
            index = next((i for i in range(HOSTS_A_LAB) if i not in taken), None)
            if index is None:
                raise LabError(f"a lab has room for {HOSTS_A_LAB} hosts; {spec.name} would be one more")
            state["hosts"].append(HostRecord(spec.name, spec.release, index, layers).to_json())
        self._write(state)

    def _snapshots(self, snapshot: str) -> Path:
        if not LAB_NAME.fullmatch(snapshot):
            raise LabError(f"{snapshot!r} is no name for a snapshot; use letters, digits, dashes and underscores")
        return self.directory / "snapshots" / snapshot

    def _layers_of_snapshot(self, spec: HostSpec) -> tuple[str, ...]:
        host, _, snapshot = spec.snapshot.rpartition("/")
        found = [path for path in self._snapshots(snapshot).glob("*") if path.name == host or not host]
        if len(found) != 1:
            names = ", ".join(f"{path.name}/{snapshot}" for path in found)
            raise LabError(
                f"say HOST/NAME: {names} are several" if found else f"lab {self.name} has no snapshot {spec.snapshot}"
            )
        release, layers = saved_layers(found[0])
        if release != spec.release:
            raise LabError(f"snapshot {spec.snapshot} is {release}; {spec.name} can't be {spec.release}")
        return tuple(layers)

    def _create(self) -> None:
        with locked("slots"):
            if self.exists:
                return
            taken = {json.loads(path.read_text())["slot"] for path in LABS.glob("*/lab.json")}
            free = next((slot for slot in range(SLOTS) if slot not in taken), None)
            if free is None:
                raise LabError(f"all {SLOTS} networks are taken; `python -m lab ls` lists the labs")
            network = Network.for_slot(free)
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self.identity.exists():
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {self.name}", "-f", self.identity)
            self._write({"slot": free, "subnet": str(network.subnet), "hosts": []})

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        with locked(f"lab-{self.name}") as lock:
            yield lock

    def _state(self) -> dict[str, Any]:
        if not self.exists:
            raise LabError(f"there is no lab {self.name}; `python -m lab ls` lists those there are")
        state: dict[str, Any] = json.loads(self._file.read_text())
        return state

    def _write(self, state: dict[str, Any]) -> None:
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2))
        partial.rename(self._file)


def _network(state: dict[str, Any]) -> Network:
    slot = state["slot"]
    default = list(ipaddress.IPv4Network(DEFAULT_RANGE).subnets(new_prefix=28))[slot]
    return Network(slot, ipaddress.IPv4Network(state.get("subnet", default)))


def all_labs() -> list[Lab]:
    """Every lab that is on this machine, half-made ones too."""
    return [Lab(path.name) for path in sorted(LABS.iterdir())] if LABS.is_dir() else []


def destroy_all() -> None:
    """Take down every lab; one that fails doesn't keep the others from it."""
    failures = []
    for lab in all_labs():
        try:
            lab.down()
        except (LabError, OSError, subprocess.SubprocessError) as error:
            failures.append(f"{lab.name}: {error}")
    if failures:
        raise LabError("; ".join(failures))


def prune_images() -> list[Path]:
    """Delete the images that no host stands on; the next `up` builds what it needs."""
    with locked("slots"):
        layers = {layer for lab in all_labs() if lab.exists for host in lab.hosts for layer in host.record.layers}
        gone = unused(layers)
        for path in gone:
            remove_tree(path)
    return gone


def _for_each(hosts: list[Host], action: Callable[[Host], None]) -> None:
    with ThreadPoolExecutor(max_workers=HOSTS_A_LAB) as pool:
        list(pool.map(action, hosts))
