"""A scratch Postgres: a backup restored beside the one that serves, reachable by a Unix socket alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import BackupError, Settings, last_words, run
from postgres import Pgbackrest, Server

# A server that replays must allow at least what the one that wrote the log did.
AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}


class Scratch:
    """Restored data, and the server that runs on it."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.scratch)
        self._data = self._folder / "data"
        self._patience = settings.scratch_patience_sec
        told = settings.postgres
        self._programs = Path(told["programs"])
        self.server = Server(self._programs, self._folder, settings.scratch_port, told["database"])
        self._pgbackrest = Pgbackrest(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def restore(self, label: str, mark: str) -> None:
        """Bring a backup here, to be replayed up to a mark."""
        options = [
            f"--set={label}",
            "--type=name",
            f"--target={mark}",
            "--target-action=pause",
            "--archive-mode=off",
            "--job-retry=0",
        ]
        self._pgbackrest("restore", f"--pg1-path={self._data}", *options)
        for name in ("postgresql.conf", "pg_ident.conf"):
            (self._data / name).write_text("")
        (self._data / "pg_hba.conf").write_text("local all postgres trust\n")

    def start(self, mark: str, action: str) -> None:
        """Replay up to a mark, and wait until that is done: it stands there, or it has become a server of its own."""
        options = {
            **self._at_least(), "listen_addresses": "", "port": str(self.server.port), "ssl": "off", "jit": "off",
            "unix_socket_directories": str(self._folder), "hba_file": str(self._data / "pg_hba.conf"),
            "ident_file": str(self._data / "pg_ident.conf"), "archive_mode": "off", "fsync": "off", "hot_standby": "on",
            "shared_preload_libraries": "", "shared_buffers": "64MB",
            "log_destination": "stderr", "logging_collector": "off",
            "recovery_target_name": mark, "recovery_target_action": action, "restart_after_crash": "off",
        }  # fmt: skip
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self._programs / "postgres", "-D", self._data, *words], stdout=log, stderr=log
            )
        self._wait(
            "SELECT pg_get_wal_replay_pause_state() = 'paused'"
            if action == "pause"
            else "SELECT NOT pg_is_in_recovery()"
        )

    def stop(self) -> None:
        """Fast, and by force when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(2)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _at_least(self) -> dict[str, str]:
        told = run([self._programs / "pg_controldata", "-D", self._data], what="pg_controldata")
        found = {label: value.strip() for label, _, value in (line.partition(":") for line in told.splitlines())}
        return {name: found[label] for label, name in AT_LEAST.items()}

    def _wait(self, query: str) -> None:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise BackupError(f"the scratch server ended while it replayed the log: {self._complaint()}")
            try:
                if self.server.one(query) == "t":
                    return
            except BackupError:
                # It does not let anybody in yet.
                pass
            time.sleep(0.3)
        raise BackupError(
            f"the scratch server was not where it should be after {self._patience} s: {self._complaint()}"
        )

    def _complaint(self) -> str:
        text = self._log.read_text(errors="replace")
        fatal = [
            line for line in text.splitlines() if re.search(r"FATAL|PANIC|ERROR", line) and "starting up" not in line
        ]
        return last_words("\n".join(fatal) or text)


@contextmanager
def scratch(settings: Settings) -> Iterator[Scratch]:
    """An empty one; nothing of it is left, however it ends."""
    folder = Path(settings.scratch)

    def empty() -> None:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    empty()
    (folder / "data").mkdir(mode=0o700)
    made = Scratch(settings)
    try:
        yield made
    finally:
        made.stop()
        empty()
