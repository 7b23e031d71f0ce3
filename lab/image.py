"""Base systems: real Debian trees, built once by mmdebstrap and kept under a hash of their recipe."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from lab.system import STATE, LabError, locked, run

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
# A lab host is off the network's clock and must not upgrade itself in the middle of a test.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "systemd-firstboot.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
)
PREPARE = f"""
set -eu
root=$1
echo LANG=C.UTF-8 > $root/etc/default/locale
chroot $root useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' > $root/etc/sudoers.d/{USER}
chmod 0440 $root/etc/sudoers.d/{USER}
printf 'PasswordAuthentication no\\nMaxStartups 100\\nUseDNS no\\n' > $root/etc/ssh/sshd_config.d/10-lab.conf
chroot $root systemctl -q enable ssh systemd-networkd
chroot $root systemctl -q mask {" ".join(MASKED)}
rm -f $root/etc/ssh/ssh_host_* $root/etc/apt/apt.conf.d/99mmdebstrap
echo force-unsafe-io > $root/etc/dpkg/dpkg.cfg.d/lab
if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
  cp /usr/local/share/ca-certificates/*.crt $root/usr/local/share/ca-certificates/
  chroot $root update-ca-certificates >/dev/null 2>&1
fi
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf $root/etc/pip.conf
[ ! -e /etc/uv/uv.toml ] || install -D /etc/uv/uv.toml $root/etc/uv/uv.toml
for file in /etc/apt/apt.conf.d/*proxy*; do [ ! -e $file ] || cp $file $root/etc/apt/apt.conf.d/; done
: > $root/etc/machine-id
"""


def package_sources(release: str) -> list[str]:
    """The machine's own package mirror, asked for another release: one line of apt's format each.

    Raises:
        LabError: this machine has no Debian source to take the mirror from.
    """
    said = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
    main = security = None
    for line in said.splitlines():
        uri, codename, component = line.split()
        if component != "main" or "debian" not in uri:
            continue
        if codename.endswith("-security"):
            security = security or uri
        elif "-" not in codename:
            main = main or uri
    if main is None:
        raise LabError("no Debian package source on this machine to build hosts from; see /etc/apt/sources.list.d")
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    lines = [f"deb {keyring} {main} {suite} main" for suite in (release, f"{release}-updates")]
    if security is not None:
        lines.append(f"deb {keyring} {security} {release}-security main")
    return lines


def image(release: str) -> Path:
    """The tree of a release; built when there is none yet (about half a minute), for everybody at once.

    Raises:
        LabError: an unknown release, or mmdebstrap failed.
    """
    if release not in RELEASES:
        raise LabError(f"unknown release {release}; the lab has {', '.join(RELEASES)}")
    sources = package_sources(release)
    recipe = "\n".join([PREPARE, *PACKAGES, *sources])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    tree = STATE / "images" / f"{release}-{digest}"
    with locked(f"image-{release}"):
        if not tree.is_dir():
            print(f"Building the {release} image (once)", flush=True)  # noqa: T201
            _build(release, sources, tree)
    return tree


def _build(release: str, sources: list[str], tree: Path) -> None:
    tree.parent.mkdir(parents=True, exist_ok=True)
    partial = tree.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    hook = tree.with_suffix(".prepare")
    hook.write_text(f"#!/bin/sh\n{PREPARE}")
    hook.chmod(0o755)
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt/lists", f"--include={','.join(PACKAGES)}"),
        *("--aptopt=APT::Install-Recommends false", "--dpkgopt=force-unsafe-io", f"--customize-hook={hook}"),
        *(release, str(partial), "-"),
    ]
    done = subprocess.run(  # noqa: S603
        command,
        input="\n".join(sources),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    hook.unlink()
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise LabError(f"mmdebstrap could not build {release}: {done.stderr.strip()[-2000:]}")
    partial.rename(tree)
