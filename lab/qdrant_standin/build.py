"""Build the stand-in as a release tarball of the official shape: `python -m lab.qdrant_standin.build OUTDIR`.

The official asset is `qdrant-<target>.tar.gz` with one file in it, the executable `qdrant`. This one has the same
content under a file name that says what it is. The executable is a Python zip application that carries everything it
imports, so a bare Debian 12 or 13 with python3 runs it. The engine's shared object can't be loaded from a zip, so the
program's first lines (`_launcher.py`) put it into memory. Same inputs give the same bytes (fixed times, modes, order),
so a second `site.yml` sees no change.

Prints one JSON object: path, sha256, version, architecture.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import platform
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from . import BUILD_VERSION, DEFAULT_VERSION

SHEBANG = b"#!/usr/bin/python3 -I\n"
DISTRIBUTIONS = (
    "qdrant-edge-py", "starlette", "uvicorn", "h11", "click", "anyio", "idna", "typing-extensions", "python-multipart",
    "pyyaml",
)  # fmt: skip
ENGINE_LIBRARY = "qdrant_edge/qdrant_edge.abi3.so"
NOT_SHIPPED = ("build.py",)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


class BuildError(Exception):
    """The artefact can't be built here; the text says what is missing and how to get it."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the lab's Qdrant stand-in as a release tarball")
    parser.add_argument("outdir", type=Path, help="directory for the tarball")
    parser.add_argument("--version", default=DEFAULT_VERSION, help="server version it reports (default %(default)s)")
    options = parser.parse_args(argv)
    try:
        built = build(options.outdir, options.version)
    except BuildError as error:
        sys.stderr.write(f"qdrant stand-in: {error}\n")
        return 1
    sys.stdout.write(json.dumps(built) + "\n")
    return 0


def build(outdir: Path, version: str) -> dict[str, str]:
    """Write the tarball for this machine's architecture; its path, SHA-256, version and architecture."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise BuildError(f"--version is {version!r}; it must look like 1.19.0")
    machine = platform.machine()
    content = _tarball(SHEBANG + _application(version))
    target = outdir / f"qdrant-lab-standin-{version}-{machine}.tar.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_bytes() != content:
        part = target.with_name(target.name + ".part")
        part.write_bytes(content)
        part.replace(target)
    digest = hashlib.sha256(content).hexdigest()
    return {"path": str(target.resolve()), "sha256": digest, "version": version, "architecture": machine}


def _application(version: str) -> bytes:
    """The zip application. Stored, not compressed: the tarball compresses, and start-up needn't unpack 36 MB."""
    entries = dict(_own_files())
    entries[f"qdrant_standin/{BUILD_VERSION}"] = f"{version}\n".encode()
    for name in DISTRIBUTIONS:
        entries.update(_files_of(name))
    if ENGINE_LIBRARY not in entries:
        raise BuildError(f"qdrant-edge-py has no {ENGINE_LIBRARY} here; it needs Linux on x86_64 or aarch64")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(entries):
            info = zipfile.ZipInfo(path, _EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[path])
    return buffer.getvalue()


def _own_files() -> Iterator[tuple[str, bytes]]:
    package = Path(__file__).parent
    for path in package.glob("*.py"):
        if path.name == "_launcher.py":
            yield "__main__.py", path.read_bytes()
        elif path.name not in NOT_SHIPPED:
            yield f"qdrant_standin/{path.name}", path.read_bytes()


def _files_of(name: str) -> dict[str, bytes]:
    """The Python files of an installed distribution, and the engine's library (the only binary needed)."""
    found: dict[str, bytes] = {}
    for file in _installed(name).files or []:
        path = PurePosixPath(file)
        wanted = path.suffix == ".py" or str(path) == ENGINE_LIBRARY
        if wanted and ".." not in path.parts and "tests" not in path.parts:
            found[str(path)] = Path(str(file.locate())).read_bytes()
    if not found:
        raise BuildError(f"the installed package {name} has no files; install it again")
    return found


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise BuildError(f"the package {name} is not installed; run `make setup` and use its Python") from error


def _tarball(executable: bytes) -> bytes:
    """A tar.gz with one member, `qdrant`, mode 0755, owned by root, dated 1980."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0, filename="") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        member = tarfile.TarInfo("qdrant")
        member.size, member.mode, member.mtime = len(executable), 0o755, 315532800
        member.uname = member.gname = "root"
        tar.addfile(member, io.BytesIO(executable))
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main())
