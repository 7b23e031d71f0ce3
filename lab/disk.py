"""The disk of one host: its own layer over read-only trees, and what is written there before it boots."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.image import USER
from lab.network import Network
from lab.system import LabError, mounts_below, remove_tree, run, unmount

HOSTS_BEGIN = "# the lab's hosts"
HOSTS_END = "# end of the lab's hosts"


@dataclass(frozen=True, slots=True)
class Disk:
    """An overlay below ``directory``; ``layers`` are read-only trees, the topmost first."""

    directory: Path
    layers: tuple[str, ...]

    @property
    def root(self) -> Path:
        """Where the whole tree is mounted while it is."""
        return self.directory / "root"

    @property
    def upper(self) -> Path:
        """What the host itself wrote."""
        return self.directory / "upper"

    def mount(self) -> None:
        """Put the tree together (idempotent).

        Raises:
            LabError: a layer is missing, or the kernel refuses the overlay.
        """
        for layer in self.layers:
            if not Path(layer).is_dir():
                raise LabError(
                    f"{layer}, on which {self.directory.name} stands, is gone; `down` the lab and make it anew"
                )
        work = self.directory / "work"
        for path in (self.root, self.upper, work):
            path.mkdir(parents=True, exist_ok=True)
        if self.root not in mounts_below(self.root):
            options = f"lowerdir={':'.join(self.layers)},upperdir={self.upper},workdir={work}"
            run("mount", "-t", "overlay", "overlay", "-o", options, self.root)

    def unmount(self) -> None:
        """Take the tree apart; what was written stays."""
        unmount(self.root)

    def prepare(self, name: str, address: str, network: Network, key: str) -> None:
        """Write what makes the mounted tree this host: name, address, who may log in."""
        etc = self.root / "etc"
        self._give_identity(etc, name)
        configuration = etc / "systemd/network/10-host0.network"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(f"[Match]\nName=host0\n\n[Network]\nAddress={address}/28\nGateway={network.gateway}\n")
        keys = self.root / f"home/{USER}/.ssh/authorized_keys"
        keys.parent.mkdir(mode=0o700, exist_ok=True)
        if not keys.exists() or key not in keys.read_text():
            with keys.open("a") as handle:
                handle.write(key)
            home = keys.parent.parent.stat()
            for path in (keys.parent, keys):
                os.chown(path, home.st_uid, home.st_gid)
        resolver = etc / "resolv.conf"
        if resolver.is_symlink():
            resolver.unlink()  # nspawn writes this machine's into it

    def _give_identity(self, etc: Path, name: str) -> None:
        """Once: a host made from another's snapshot must not share its name, machine id and host keys."""
        marker = self.directory / "identity"
        if marker.exists():
            return
        for path in etc.glob("ssh/ssh_host_*"):
            path.unlink()
        run("ssh-keygen", "-A", "-f", self.root)
        (etc / "hostname").write_text(f"{name}\n")
        machine_id = uuid.uuid4().hex
        (etc / "machine-id").write_text(f"{machine_id}\n")
        marker.write_text(machine_id)

    def write_hosts(self, addresses: dict[str, str]) -> None:
        """Let the host know the others by name; lines of somebody else stay."""
        path = self.root / "etc/hosts"
        lines = path.read_text().splitlines() if path.exists() else ["127.0.0.1 localhost", "::1 localhost"]
        if HOSTS_BEGIN in lines and HOSTS_END in lines:
            del lines[lines.index(HOSTS_BEGIN) : lines.index(HOSTS_END) + 1]
        block = [f"{address} {name} {name}.lab.test" for name, address in addresses.items()]
        path.write_text("\n".join([*lines, HOSTS_BEGIN, *block, HOSTS_END]) + "\n")

    def save(self, target: Path, release: str) -> None:
        """Copy what the host wrote, and on what it stands; the host must be off."""
        partial = target.with_name(target.name + ".partial")
        remove_tree(partial)
        partial.mkdir(parents=True)
        run("cp", "-a", self.upper, partial / "upper")
        (partial / "layers.json").write_text(json.dumps({"release": release, "layers": self.layers}))
        remove_tree(target)
        partial.rename(target)

    def load(self, source: Path) -> None:
        """Put back what was saved; the host must be off."""
        self.unmount()
        remove_tree(self.directory / "work")
        remove_tree(self.upper)
        run("cp", "-a", source / "upper", self.upper)


def saved_layers(source: Path) -> tuple[str, Sequence[str]]:
    """Release of a saved disk, and the layers that a host made from it stands on."""
    saved = json.loads((source / "layers.json").read_text())
    return saved["release"], [str(source / "upper"), *saved["layers"]]
