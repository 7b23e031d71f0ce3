"""Commands, locks and mounts of this machine, and whether it can carry a lab at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STATE = Path("/var/lib/anchorage-lab")
CGROUP_ROOTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
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
        LabError: it failed or took longer than ``timeout`` seconds; carries the end of its error output.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(words)}` failed with status {done.returncode}: {said}")
    return done.stdout


def announce(text: str) -> None:
    """Say something about progress: on standard error, so that output stays readable by programs."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.02) -> bool:
    """Ask again and again; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold a lock of the lab's state directory, against every other process on this machine.

    The holder may delete the yielded file: whoever waited for it then takes the new one.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    path = STATE / f"{name}.lock"
    while True:
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_ino != os.fstat(handle.fileno()).st_ino:
                continue
            yield path
            return


def mounts_below(path: Path) -> list[Path]:
    """What is mounted at a path or below it."""
    points = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in points if point.is_relative_to(path)]


def unmount(path: Path) -> None:
    """Unmount, if mounted; a system that has just ended may hold it for a moment more."""

    def gone() -> bool:
        if path not in mounts_below(path):
            return True
        return subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0  # noqa: S603, S607

    if not wait_until(gone, timeout_s=5, interval_s=0.1):
        run("umount", path)


def remove_tree(path: Path) -> None:
    """Delete a directory; refuses while something is mounted below it."""
    if mounts_below(path):
        raise LabError(f"{path} is still mounted; stop its host first")
    if path.exists():
        shutil.rmtree(path)


def unified_root() -> Path | None:
    """The v2 hierarchy: beside v1 on a hybrid machine, else the only one."""
    return next((root for root in CGROUP_ROOTS if (root / "cgroup.controllers").exists()), None)


def obstacles() -> list[str]:
    """Why no lab can run here, each with its cure; empty when one can."""
    if sys.platform != "linux":
        return ["The lab runs on Linux only. Without one, `make serve` runs the same service on this machine."]
    if os.geteuid() != 0:
        missing = missing_packages()
        install = f" It also misses Debian packages: sudo apt-get install {' '.join(missing)}." if missing else ""
        return [
            "The lab boots real systems and needs root: run it with sudo. "
            f"Without root, `make serve` runs the same service on this machine.{install}"
        ]
    if unified_root() is None:
        return [
            "There is no cgroup v2 hierarchy: `mount -t cgroup2 none /sys/fs/cgroup/unified` makes one "
            "(create that directory first)."
        ]
    return []


def require() -> None:
    """Make sure that a lab can run here; as root, install the Debian packages that it needs.

    Raises:
        LabError: it can't; the message says why and what to do.
    """
    reasons = obstacles()
    if reasons:
        raise LabError(" ".join(reasons))
    missing = missing_packages()
    if missing and shutil.which("apt-get") is None:
        raise LabError(f"The lab needs a Debian machine with {', '.join(missing)}; here is no apt-get to install them")
    if missing:
        install_packages(missing)


def missing_packages() -> list[str]:
    """Debian packages whose programs are not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return sorted({package for program, package in PACKAGES.items() if shutil.which(program, path=path) is None})


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian packages without asking."""
    announce(f"Installing Debian packages: {' '.join(packages)}")
    run("apt-get", "update", "-qq")
    run(
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages
    )
