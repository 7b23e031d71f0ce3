"""A fresh clone with nothing cached: what a new user has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.prove.scorecard import ROOT


@contextmanager
def fresh_clone() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a clone of the committed state and an environment whose caches are empty."""
    directory = Path(tempfile.mkdtemp(prefix="anchorage-prove-"))
    clone = directory / "anchorage"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    path = ":".join(part for part in os.environ["PATH"].split(":") if ".venv" not in part)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "DATA_DIR", "MAKEFLAGS")},
        "PATH": path,
        "UV_CACHE_DIR": str(directory / "uv-cache"),
        "PIP_NO_CACHE_DIR": "1",
        "ANCHORAGE_LAB": "prove",
        "ANCHORAGE_LAB_IMAGES": str(directory / "images"),
    }
    try:
        yield clone, environment
    finally:
        shutil.rmtree(directory)


def timed(command: list[str], clone: Path, environment: dict[str, str]) -> tuple[float, str]:
    """Run to the end; return seconds and what it printed. Raises CalledProcessError with the output on failure."""
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return seconds, done.stdout
