"""One host: an overlay over a base tree, booted by systemd-nspawn with its own systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.image import USER
from lab.network import Network, set_link
from lab.system import LabError, cgroup_root, is_mounted, remove_tree, run, ssh_options

BOOT_TIMEOUT_S = 90
REBOOT_STATUS = 133


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What is kept of a host: ``layers`` are read-only trees, the topmost first."""

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
        self.directory = directory
        self.network = network
        self.identity = identity
        self.address = network.address(record.index)
        # Interfaces are named after the machine and have 15 characters: keep it short.
        self.machine = f"al{network.slot:x}{record.index:x}"
        self.root = directory / "root"
        self.upper = directory / "upper"
        self.console = directory / "console.log"

    @property
    def _cgroups(self) -> list[Path]:
        roots = [cgroup_root(), Path("/sys/fs/cgroup/systemd")]
        return [root / "anchorage-lab" / self.machine for root in roots if root.is_dir()]

    @property
    def alive(self) -> bool:
        """Whether any of its processes is; that nspawn itself is gone proves nothing."""
        events = self._cgroups[0] / "cgroup.events"
        return events.exists() and "populated 1" in events.read_text()

    def mount(self) -> None:
        """Put the host's tree together (idempotent)."""
        work = self.directory / "work"
        for path in (self.root, self.upper, work):
            path.mkdir(parents=True, exist_ok=True)
        if not is_mounted(self.root):
            options = f"lowerdir={':'.join(self.record.layers)},upperdir={self.upper},workdir={work}"
            run("mount", "-t", "overlay", "overlay", "-o", options, self.root)

    def configure(self, names: dict[str, str]) -> None:
        """Write what makes the tree this host; ``names`` are all hosts of the lab with their addresses."""
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{address} {name} {name}.lab.test" for name, address in names.items()]
        (etc / "hosts").write_text("\n".join(lines) + "\n")
        if not (etc / "ssh/ssh_host_ed25519_key").exists():
            run("ssh-keygen", "-A", "-f", self.root)
        network = etc / "systemd/network/10-host0.network"
        network.parent.mkdir(parents=True, exist_ok=True)
        network.write_text(
            f"[Match]\nName=host0\n\n[Network]\nAddress={self.address}/28\nGateway={self.network.gateway}\n"
        )
        keys = self.root / f"home/{USER}/.ssh/authorized_keys"
        keys.parent.mkdir(mode=0o700, exist_ok=True)
        keys.write_text(self.identity.with_suffix(".pub").read_text())
        home = keys.parent.parent.stat()
        for path in (keys.parent, keys):
            os.chown(path, home.st_uid, home.st_gid)
        if (self.root / "etc/resolv.conf").is_symlink():
            (self.root / "etc/resolv.conf").unlink()

    def start(self, names: dict[str, str]) -> None:
        """Boot, unless it runs; returns before it is up."""
        if self.alive:
            return
        self._remove_cgroups()
        self.mount()
        self.configure(names)
        for cgroup in self._cgroups:
            cgroup.mkdir(parents=True)
        # Each boot gets into a cgroup of its own before nspawn starts: hosts that share one see each other's
        # processes. Status 133 is a reboot, which nspawn leaves to its caller.
        enter = "; ".join(f"echo $$ > {cgroup}/cgroup.procs" for cgroup in self._cgroups)
        boot = f"{enter}; exec " + " ".join(
            [
                *("systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", f"--machine={self.machine}"),
                *(f"--hostname={self.name}", "--network-veth", f"--network-bridge={self.network.bridge}"),
                *("--register=no", "--keep-unit", "--resolv-conf=copy-host", "--console=pipe"),
                # IPAddressDeny= and its like are enforced by BPF.
                *("--capability=CAP_BPF", "--system-call-filter=bpf", "--link-journal=no"),
            ]
        )
        forever = f"while :; do sh -c '{boot}'; [ $? = {REBOOT_STATUS} ] || exit 0; done"
        with self.console.open("ab") as console:
            subprocess.Popen(  # noqa: S603
                ["sh", "-c", forever],  # noqa: S607
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )

    def wait(self, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Return when systemd has finished starting and SSH answers.

        Raises:
            LabError: the host died or took too long; the message shows the end of its console.
        """
        deadline = time.monotonic() + timeout_s
        state = "not started"
        grace = time.monotonic() + 3
        while time.monotonic() < deadline:
            if not self.alive and time.monotonic() > grace:
                raise LabError(f"{self.name} died while starting. Its console: {self._console_end()}")
            state = self._system_state()
            if state in ("running", "degraded") and self._ssh_answers():
                if state == "degraded":
                    failed = self.execute("systemctl", "--failed", "--plain", "--no-legend", root=True).strip()
                    print(f"{self.name}: started with failed units: {failed}", flush=True)  # noqa: T201
                return
            time.sleep(0.1)
        raise LabError(f"{self.name} is '{state}' after {timeout_s:.0f} s. Its console: {self._console_end()}")

    def leader(self) -> int | None:
        """Process id, on this machine, of the host's process 1."""
        for listing in self._cgroups[0].rglob("cgroup.procs"):
            try:
                for pid in listing.read_text().split():
                    status = Path(f"/proc/{pid}/status").read_text()
                    chain = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                    if len(chain) > 2 and chain[-1] == "1":
                        return int(pid)
            except (OSError, StopIteration):
                continue  # the process ended while it was looked at
        return None

    def _system_state(self) -> str:
        leader = self.leader()
        if leader is None:
            return "booting"
        done = subprocess.run(  # noqa: S603
            ["nsenter", "-t", str(leader), "-a", "systemctl", "is-system-running"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() or "booting"

    def _ssh_answers(self) -> bool:
        command = ["ssh", *ssh_options(self.identity), f"{USER}@{self.address}", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603

    def _console_end(self) -> str:
        return self.console.read_text(errors="replace")[-1500:] if self.console.exists() else "(none)"

    def execute(self, *command: str, root: bool = False) -> str:
        """Run a command on the host over SSH; ``root`` by sudo. Raises LabError with its error output."""
        words = ["sudo", *command] if root else list(command)
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        return run("ssh", *ssh_options(self.identity), f"{USER}@{self.address}", quoted)

    def reboot(self) -> None:
        """Reboot from within and wait until it is back."""
        before = self.leader()
        run("nsenter", "-t", str(before), "-a", "systemctl", "reboot")
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self.leader() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        self.wait()

    def stop(self) -> None:
        """Power off in good order; after 30 s by force."""
        leader = self.leader()
        if leader is not None:
            # SIGRTMIN+4 is systemd's order to power off.
            subprocess.run(["kill", "-s", "RTMIN+4", str(leader)], check=False, capture_output=True)  # noqa: S603, S607
            deadline = time.monotonic() + 30
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """Cut the power: every process is gone at once; the disk keeps what the kernel had."""
        if self.alive:
            (self._cgroups[0] / "cgroup.kill").write_text("1")
            deadline = time.monotonic() + 10
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.02)
        self._remove_cgroups()

    def cut(self) -> None:
        """Pull the network cable."""
        set_link(self.machine, up=False)

    def heal(self) -> None:
        """Plug the network cable in again."""
        set_link(self.machine, up=True)

    def unmount(self) -> None:
        """Take the tree apart; the upper layer stays."""
        if is_mounted(self.root):
            run("umount", self.root)

    def destroy(self) -> None:
        """Remove every trace of the host."""
        self.kill()
        self.unmount()
        remove_tree(self.directory)

    def _remove_cgroups(self) -> None:
        # A cgroup that was killed kills what is born in it again: it must go before the next boot.
        for cgroup in self._cgroups:
            for path in sorted((p for p in cgroup.rglob("*") if p.is_dir()), reverse=True):
                path.rmdir()
            if cgroup.is_dir():
                cgroup.rmdir()


def copy_layer(source: Path, target: Path) -> None:
    """Copy an overlay layer with its special files and attributes."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "-a", source, target)
