"""The control group of one host: what runs in it, and how all of it ends at once.

Each host has one of its own, in the v2 hierarchy and beside it in systemd's v1 hierarchy where there is one. Hosts
that shared a group would see each other's processes, and their systemd would wait for those to end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.system import LabError, unified_root, wait_until

SYSTEMD_V1 = Path("/sys/fs/cgroup/systemd")
PARENT = "anchorage-lab"


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group of one machine. In it, ``supervisor`` holds who starts nspawn again and ``host`` holds nspawn."""

    machine: str

    @property
    def paths(self) -> list[Path]:
        """Its directories, the v2 one first."""
        roots = [root for root in (unified_root(), SYSTEMD_V1) if root is not None and root.is_dir()]
        return [root / PARENT / self.machine for root in roots]

    @property
    def populated(self) -> bool:
        """Whether any process is in it. That nspawn itself is gone would prove nothing."""
        events = self.paths[0] / "cgroup.events"
        return events.exists() and "populated 1" in events.read_text()

    def create(self) -> None:
        """Make it anew: a group that was killed once kills what is born in it again."""
        self.remove()
        for path in self.paths:
            for part in ("supervisor", "host"):
                (path / part).mkdir(parents=True)

    def enter(self, part: str) -> str:
        """Shell commands by which a process moves itself into a part, or ends."""
        return " && ".join(f"echo $$ > {path}/{part}/cgroup.procs" for path in self.paths)

    def kill(self) -> None:
        """End every process in it at once, the supervisor too.

        Raises:
            LabError: a process did not end within 10 s; it hangs in the kernel.
        """
        if not self.populated:
            return
        (self.paths[0] / "cgroup.kill").write_text("1")
        if not wait_until(lambda: not self.populated, timeout_s=10):
            raise LabError(
                f"processes in {self.paths[0]} did not end; `cat {self.paths[0]}/**/cgroup.procs` names them"
            )

    def remove(self) -> None:
        """Remove the directories; the shared parent goes with the last host."""
        for path in self.paths:
            if path.is_dir() and not wait_until(partial(_remove, path), timeout_s=5):
                raise LabError(f"{path} is still in use; `cat {path}/**/cgroup.procs` names the processes")

    def leader(self) -> int | None:
        """Process id, on this machine, of the host's process 1."""
        for directory, _, _ in os.walk(self.paths[0]):  # passes over groups that vanish meanwhile
            try:
                for pid in (Path(directory) / "cgroup.procs").read_text().split():
                    status = Path(f"/proc/{pid}/status").read_text()
                    chain = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                    if len(chain) > 2 and chain[-1] == "1":
                        return int(pid)
            except (OSError, StopIteration):
                continue  # the process ended while it was looked at
        return None


def remove_parent() -> None:
    """Remove the directory that all hosts share, unless hosts are left."""
    for root in (unified_root(), SYSTEMD_V1):
        parent = None if root is None else root / PARENT
        if parent is not None and parent.is_dir() and not any(path.is_dir() for path in parent.iterdir()):
            parent.rmdir()


def _remove(path: Path) -> bool:
    try:
        for below in sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True):
            below.rmdir()
        path.rmdir()
    except OSError:  # a process that was killed is not reaped yet
        return False
    return True
