"""How hosts reach package sources: as this machine does, read from its own settings and written down nowhere else."""

from __future__ import annotations

import configparser
import os
import re
import shutil
from pathlib import Path

from lab.system import LabError, run

CERTIFICATES = Path("/usr/local/share/ca-certificates")
SYSTEM_STORE = "/etc/ssl/certs/ca-certificates.crt"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


# Where pip keeps settings, the weakest first; PIP_CONFIG_FILE is stronger.
PIP_FILES = tuple(
    Path(name).expanduser()
    for name in ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
)


def debian_sources(release: str) -> list[str]:
    """This machine's own Debian mirror, asked for a release: one line of apt's format each.

    Raises:
        LabError: this machine has no Debian source to take the mirror from.
    """
    main, security = _mirrors()
    if main is None:  # a fresh machine's lists are empty, and apt knows the origins only from the lists
        run("apt-get", "update", "-qq")
        main, security = _mirrors()
    if main is None:
        raise LabError("no Debian package source on this machine to build hosts from; see /etc/apt/sources.list.d")
    lines = [f"deb [signed-by={KEYRING}] {main} {suite} main" for suite in (release, f"{release}-updates")]
    if security is not None:
        lines.append(f"deb [signed-by={KEYRING}] {security} {release}-security main")
    return lines


def _mirrors() -> tuple[str | None, str | None]:
    """Addresses of Debian's main and security archives, by the origin that their Release files state."""
    if shutil.which("apt-get") is None:
        raise LabError("the lab builds hosts with apt and mmdebstrap: use a Debian machine")
    fields = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
    main = security = None
    for line in run("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines():
        origin, label, uri, codename, component = line.split("|")
        if origin != "Debian" or component != "main":
            continue
        if label == "Debian-Security":
            security = security or uri
        elif "-" not in codename:
            main = main or uri
    return main, security


def apt_proxy() -> list[str]:
    """Lines of apt's configuration that name a proxy."""
    dump = run("apt-config", "dump").splitlines()
    return [line for line in dump if re.match(r'Acquire::https?::(\S+::)?Proxy ".+";', line, re.IGNORECASE)]


def host_files() -> dict[str, str]:
    """What a host needs on its disk, by path: certificates, and settings of apt, pip and uv."""
    files = {str(path): path.read_text() for path in sorted(CERTIFICATES.glob("*.crt"))}
    pip = _pip_settings()
    environment = {f"UV_{name.upper().replace('-', '_')}": value for name, value in pip.items()}
    if files:
        # pip and uv bring lists of authorities of their own; these make them read the system's.
        pip["cert"] = SYSTEM_STORE
        environment |= {"SSL_CERT_FILE": SYSTEM_STORE, "REQUESTS_CA_BUNDLE": SYSTEM_STORE}
    if pip:
        files["/etc/pip.conf"] = "[global]\n" + "".join(f"{name} = {value}\n" for name, value in pip.items())
    if environment:
        files["/etc/environment"] = "".join(f'{name}="{value}"\n' for name, value in environment.items())
        files["/etc/sudoers.d/lab-environment"] = f'Defaults env_keep += "{" ".join(environment)}"\n'
    proxy = apt_proxy()
    if proxy:
        files["/etc/apt/apt.conf.d/90lab-proxy"] = "\n".join(proxy) + "\n"
    return files


def _pip_settings() -> dict[str, str]:
    """Where this machine's pip looks for packages, as far as a host can reach it too: folders are left out."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read(PIP_FILES)
    own = os.environ.get("PIP_CONFIG_FILE")
    if own:
        parser.read(own)
    settings = {}
    for name in ("index-url", "extra-index-url", "find-links"):
        from_files = parser.get("global", name) if parser.has_option("global", name) else ""
        said = os.environ.get(f"PIP_{name.upper().replace('-', '_')}") or from_files
        addresses = [word for word in said.split() if word.startswith(("http://", "https://"))]
        if addresses:
            settings[name] = " ".join(addresses)
    return settings
