"""Base systems: real Debian trees, built once by mmdebstrap and kept under a hash of their recipe."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.packages import apt_proxy, debian_sources, host_files
from lab.system import STATE, LabError, announce, locked, remove_tree

IMAGES = Path(os.environ.get("ANCHORAGE_LAB_IMAGES", STATE / "images"))
RELEASES = ("trixie", "bookworm")
USER = "deploy"
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
# Nothing waits for a network that systemd-networkd finds configured; the clock is this machine's.
MASKED = ("systemd-firstboot.service", "systemd-networkd-wait-online.service", "systemd-timesyncd.service")
# A host must not upgrade itself in the middle of a test; a role that wants these timers enables them.
DISABLED = ("apt-daily.timer", "apt-daily-upgrade.timer")
PREPARE = f"""
set -eu
root=$1
cp -a "$(dirname "$0")/files/." $root/
chroot $root update-ca-certificates >/dev/null
echo LANG=C.UTF-8 > $root/etc/default/locale
chroot $root useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' > $root/etc/sudoers.d/{USER}
chmod 0440 $root/etc/sudoers.d/{USER}
printf 'MaxStartups 100\\nUseDNS no\\n' > $root/etc/ssh/sshd_config.d/90-lab.conf
chroot $root systemctl -q enable ssh systemd-networkd
chroot $root systemctl -q mask {" ".join(MASKED)}
chroot $root systemctl -q disable {" ".join(DISABLED)}
rm -f $root/etc/ssh/ssh_host_* $root/etc/apt/apt.conf.d/99mmdebstrap
echo force-unsafe-io > $root/etc/dpkg/dpkg.cfg.d/lab
: > $root/etc/machine-id
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what a tree looks like, but for the packages' versions."""

    release: str
    sources: tuple[str, ...]
    proxy: tuple[str, ...]
    files: dict[str, str]
    packages: tuple[str, ...] = PACKAGES
    prepare: str = PREPARE

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


def image(release: str) -> Path:
    """The tree of a release; built when there is none yet (about half a minute), for everybody at once.

    Raises:
        LabError: an unknown release, or mmdebstrap failed.
    """
    check_release(release)
    recipe = Recipe(release, tuple(debian_sources(release)), tuple(apt_proxy()), host_files())
    tree = IMAGES / f"{release}-{recipe.digest}"
    with locked(f"image-{release}"):
        if not tree.is_dir():
            start = time.monotonic()
            announce(f"Building the {release} image (once, about half a minute)")
            _build(recipe, tree)
            announce(f"Built the {release} image in {time.monotonic() - start:.0f} s")
    return tree


def check_release(release: str) -> None:
    """Raise LabError unless the lab has images of a release."""
    if release not in RELEASES:
        raise LabError(f"unknown release {release}; the lab has {', '.join(RELEASES)}")


def _build(recipe: Recipe, tree: Path) -> None:
    work = tree.with_suffix(".building")
    remove_tree(work)  # of a build that was broken off
    for path, text in recipe.files.items():
        target = work / f"files{path}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (work / "files").mkdir(parents=True, exist_ok=True)
    hook = work / "prepare"
    hook.write_text(f"#!/bin/sh\n{recipe.prepare}")
    hook.chmod(0o755)
    done = subprocess.run(  # noqa: S603
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(recipe.packages)}"),
            # Hosts keep the package lists; hosts do install what is recommended, as Debian does.
            *("--skip=cleanup/apt/lists", "--aptopt=APT::Install-Recommends false", "--dpkgopt=force-unsafe-io"),
            *(f"--aptopt={line}" for line in recipe.proxy),
            *(f"--customize-hook={hook}", recipe.release, str(work / "root"), "-"),
        ],
        input="\n".join(recipe.sources),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        raise LabError(f"mmdebstrap could not build {recipe.release}: {done.stderr.strip()[-2000:]}")
    (work / "root").rename(tree)
    remove_tree(work)


def unused(layers: set[str]) -> list[Path]:
    """Trees that are in none of the ``layers``, those that can't be used again among them."""
    return [path for path in sorted(IMAGES.glob("*")) if str(path) not in layers] if IMAGES.is_dir() else []
