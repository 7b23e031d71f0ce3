"""Commands of this machine, and whether it can carry a lab at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STATE = Path("/var/lib/anchorage-lab")
PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "nsenter": "util-linux",
}


class LabError(Exception):
    """Something about the lab failed; the message names the cause and the cure."""


def run(*command: str | Path, stdin: str | None = None, timeout: float | None = 600) -> str:
    """Run a command and return what it printed.

    Raises:
        LabError: it failed; the message carries the end of its error output.
    """
    done = subprocess.run(  # noqa: S603
        [str(word) for word in command], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(str(word) for word in command)}` failed with status {done.returncode}: {said}")
    return done.stdout


def reasons_against() -> list[str]:
    """Why this machine can't carry a lab, each with its cure; empty when it can."""
    if sys.platform != "linux":
        return ["The lab runs on Linux only. Without one, `make serve` runs the same service on this machine."]
    if os.geteuid() != 0:
        return [
            "The lab boots real systems and needs root: run it with sudo. "
            "Without root, `make serve` runs the same service on this machine."
        ]
    if not cgroup_root().is_dir():
        return ["There is no cgroup v2 hierarchy: mount one at /sys/fs/cgroup/unified."]
    return []


def require() -> None:
    """Make sure that a lab can run here; as root, install the Debian packages that it needs.

    Raises:
        LabError: it can't; the message says why and what to do.
    """
    reasons = reasons_against()
    if reasons:
        raise LabError(" ".join(reasons))
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"These programs are missing: {', '.join(missing)}. Install them with your package manager.")
    print(f"Installing Debian packages: {' '.join(missing)}", flush=True)  # noqa: T201
    run("apt-get", "update", "-qq")
    run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def cgroup_root() -> Path:
    """The v2 hierarchy: beside v1 on a hybrid machine, else the only one."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the lab's state directory, against every other process on this machine."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_mounted(path: Path) -> bool:
    """Whether something is mounted exactly there."""
    wanted = str(path)
    return any(line.split()[1] == wanted for line in Path("/proc/mounts").read_text().splitlines())


def remove_tree(path: Path) -> None:
    """Delete a directory; refuses while something is mounted below it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    if any(Path(mount).is_relative_to(path) for mount in mounts):
        raise LabError(f"{path} is still mounted; stop its host first")
    shutil.rmtree(path, ignore_errors=False) if path.exists() else None


def ssh_options(identity: Path) -> Sequence[str]:
    """Options for hosts whose keys change with every lab."""
    return (
        *("-i", str(identity), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "LogLevel=ERROR", "-o", "ConnectTimeout=2", "-o", "BatchMode=yes"),
    )
