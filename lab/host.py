"""One host: a Debian system of its own, booted by systemd-nspawn."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.cgroup import Cgroup
from lab.disk import Disk
from lab.image import USER
from lab.network import Network, remove_link, set_link
from lab.system import LabError, announce, run, wait_until

BOOT_TIMEOUT_S = 90
POWEROFF_TIMEOUT_S = 30
REBOOT_STATUS = 133
STUB_RESOLVER_UPSTREAM = Path("/run/systemd/resolve/resolv.conf")


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What is kept of a host: ``index`` counts within its lab, ``layers`` are read-only trees, the topmost first."""

    name: str
    release: str
    index: int
    layers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Host:
    """A host of a lab; everything it owns on this machine follows from its record."""

    def __init__(self, record: HostRecord, directory: Path, network: Network, identity: Path) -> None:
        self.record = record
        self.name = record.name
        self.network = network
        self.identity = identity
        self.address = network.address(record.index)
        # Interfaces are named after the machine and have 15 characters: keep it short.
        self.machine = f"al{network.slot:x}{record.index:x}"
        self.directory = directory
        self.disk = Disk(directory, record.layers)
        self.console = directory / "console.log"
        self._cgroup = Cgroup(self.machine)

    @property
    def alive(self) -> bool:
        """Whether it is powered on; booting, running or shutting down."""
        return self._cgroup.populated

    @property
    def leader(self) -> int | None:
        """Process id, on this machine, of its process 1."""
        return self._cgroup.leader()

    def start(self, addresses: dict[str, str]) -> None:
        """Power on, unless it is; returns before it is up. ``addresses`` are all hosts' of the lab, by name."""
        if self.alive:
            return
        self.disk.mount()
        self.disk.prepare(self.name, self.address, self.network, self.identity.with_suffix(".pub").read_text())
        self.disk.write_hosts(addresses)
        remove_link(self.machine)
        self._cgroup.create()
        # The supervisor is within the host's group too: a power cut ends it with the rest.
        boot = f"{self._cgroup.enter('host')} && exec {shlex.join(self._nspawn())}"
        supervise = (
            f"{self._cgroup.enter('supervisor')} || exit; "
            f"while :; do sh -c {shlex.quote(boot)}; [ $? = {REBOOT_STATUS} ] || exit 0; done"
        )
        with self.console.open("ab") as console:
            subprocess.Popen(  # noqa: S603
                ["sh", "-c", supervise],  # noqa: S607
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        wait_until(lambda: self.alive, timeout_s=5)  # a host that did not get this far is found dead by wait()

    def _nspawn(self) -> list[str]:
        # Through a stub of systemd-resolved no host could ask: its address is the host's own loopback.
        resolver = "copy-uplink" if STUB_RESOLVER_UPSTREAM.exists() else "copy-host"
        return [
            *("systemd-nspawn", "--quiet", f"--directory={self.disk.root}", "--boot", f"--machine={self.machine}"),
            *(f"--hostname={self.name}", "--network-veth", f"--network-bridge={self.network.bridge}"),
            *("--register=no", "--keep-unit", f"--resolv-conf={resolver}", "--console=pipe", "--link-journal=no"),
            # IPAddressDeny= and its like are enforced by BPF. With all capabilities it could set the machine's clock.
            *("--capability=CAP_BPF", "--system-call-filter=bpf"),
        ]

    def wait(self, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Return when systemd has finished starting and SSH answers.

        Raises:
            LabError: the host died or took too long; the message shows the end of its console.
        """
        deadline = time.monotonic() + timeout_s
        state = "off"
        while time.monotonic() < deadline:
            if not self.alive:
                raise LabError(f"{self.name} died while starting. Its console: {self._console_end()}")
            state = self._system_state()
            if state in ("running", "degraded") and self._ssh_answers():
                if state == "degraded":
                    failed = self.execute("systemctl", "--failed", "--plain", "--no-legend", root=True).strip()
                    announce(f"{self.name}: started with failed units: {failed}")
                return
            time.sleep(0.1)
        raise LabError(f"{self.name} is '{state}' after {timeout_s:.0f} s. Its console: {self._console_end()}")

    def _system_state(self) -> str:
        leader = self.leader
        if leader is None:
            return "booting"
        command = ["nsenter", "-t", str(leader), "-a", "timeout", "5", "systemctl", "is-system-running"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() or "booting"

    def _ssh_answers(self) -> bool:
        return subprocess.run(self.ssh_command("true"), capture_output=True, check=False).returncode == 0  # noqa: S603

    def _console_end(self) -> str:
        return self.console.read_text(errors="replace")[-1500:] if self.console.exists() else "(none)"

    def ssh_command(self, *command: str, root: bool = False) -> list[str]:
        """The command line that runs a command on the host; ``root`` by sudo. Without one, it logs in."""
        words = ["sudo", *command] if root else list(command)
        remote = [shlex.join(words)] if words else []
        return ["ssh", *ssh_options(self.identity), f"{USER}@{self.address}", *remote]

    def execute(self, *command: str, root: bool = False) -> str:
        """Run a command on the host over SSH and return what it printed.

        Raises:
            LabError: the command failed, with its error output, or the host does not answer.
        """
        return run(*self.ssh_command(*command, root=root))

    def journal(self, lines: int = 1000) -> str:
        """The end of its journal, all boots; also of a host that is off or hangs."""
        self.disk.mount()
        return run("chroot", self.disk.root, "journalctl", "--no-pager", "--output=short-precise", f"--lines={lines}")

    def reboot(self) -> None:
        """Reboot from within and wait until it is back."""
        before = self._require_leader()
        run("nsenter", "-t", str(before), "-a", "systemctl", "reboot")
        if not wait_until(lambda: self.leader not in (before, None), BOOT_TIMEOUT_S, interval_s=0.05):
            raise LabError(f"{self.name} did not reboot. Its console: {self._console_end()}")
        self.wait()

    def stop(self) -> None:
        """Power off in good order; after 30 s by force."""
        leader = self.leader
        if leader is not None:
            # SIGRTMIN+4 is systemd's order to power off.
            run("kill", "-s", "RTMIN+4", str(leader))
            if not wait_until(lambda: not self.alive, POWEROFF_TIMEOUT_S):
                announce(f"{self.name} did not power off within {POWEROFF_TIMEOUT_S} s; its power is cut")
        self.kill()

    def kill(self) -> None:
        """Cut the power: every process is gone at once; the disk keeps what the kernel had."""
        self._cgroup.kill()
        self._cgroup.remove()

    def cut(self) -> None:
        """Pull the network cable; the next boot plugs it in again."""
        self._require_leader()
        set_link(self.machine, up=False)

    def heal(self) -> None:
        """Plug the network cable in again."""
        self._require_leader()
        set_link(self.machine, up=True)

    def _require_leader(self) -> int:
        leader = self.leader
        if leader is None:
            raise LabError(f"{self.name} is off; start it first")
        return leader

    def destroy(self) -> None:
        """End it and give back what it held of this machine; its directory stays."""
        self.kill()
        self.disk.unmount()
        remove_link(self.machine)


def ssh_options(identity: Path) -> list[str]:
    """Options for hosts whose keys change with every lab."""
    return [
        *("-i", str(identity), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=2", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
    ]
