"""What backup, drill and restore share: settings, one operation at a time, commands, sealed files, metrics.

Of Python only its standard library, as Debian 12 and 13 have it: a restore must work on a host that has nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/anchorage/backup.json")
CHUNK = 1 << 20


class BackupError(Exception):
    """Why a backup, or a restore of it, is not good; in words for an operator."""


class Settings:
    """/etc/anchorage/backup.json, by attribute, and the secrets that systemd hands over."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values[name]

    @classmethod
    def load(cls) -> Settings:
        """The file is the role's, so a missing name in it is a mistake of ours."""
        return cls(json.loads(SETTINGS.read_text()))

    @property
    def repository(self) -> Path:
        """Where all of it lies."""
        return Path(self._values["repository"])

    @property
    def sets(self) -> Path:
        """The backup sets, one directory each."""
        return self.repository / "sets"

    @property
    def told(self) -> Path:
        """Metrics and report, from where the unit moves them to their readers: these folders are root's."""
        return self.repository / "told"


def credential(name: str) -> Path:
    """A file that systemd handed to this unit."""
    return Path(os.environ["CREDENTIALS_DIRECTORY"]) / name


def say(text: str) -> None:
    """For the journal, at once."""
    print(text, flush=True)  # noqa: T201


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Backup, drill and restore keep apart: wait for the other one, but not for ever."""
    deadline = time.monotonic() + settings.lock_wait_sec
    with Path(settings.lock).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"another backup, drill or restore holds {settings.lock}, and did not end within "
                        f"{settings.lock_wait_sec} s; see `systemctl list-units 'anchorage-*'`"
                    ) from None
                time.sleep(1)
        yield


def run(command: Sequence[str | Path], *, what: str, stdin: str | None = None, timeout: float = 6 * 3600) -> str:
    """What a command says; a BackupError with its last words when it ends otherwise than with 0."""
    try:
        done = subprocess.run(  # noqa: S603
            [str(word) for word in command],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            # Their words are read here.
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        raise BackupError(f"{what} did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise BackupError(f"{what}: {last_words(done.stderr or done.stdout) or f'status {done.returncode}'}")
    return done.stdout


def last_words(text: str, lines: int = 4) -> str:
    """The end of what a program said, on one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:] if line.strip())


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(source: Path, target: Path) -> None:
    """Encrypt a file with the passphrase of the backups; only the passphrase of the vault opens it again."""
    _openssl("encrypting", ["-salt", "-in", str(source), "-out", str(target)])
    target.chmod(0o600)


def unseal(source: Path, target: Path) -> None:
    """Decrypt it. A wrong passphrase is mostly seen here, and always by the checksum of what comes out."""
    _openssl(
        f"decrypting {source.name} (is it the passphrase that it was made with?)",
        ["-d", "-in", str(source), "-out", str(target)],
    )


def _openssl(what: str, words: list[str]) -> None:
    key = credential("backup_passphrase")
    run(["openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-iter", "200000", "-pass", f"file:{key}", *words], what=what)


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """All of it or nothing, and on disk when this returns."""
    beside = path.with_suffix(".new")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(mode)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def prometheus(families: Mapping[str, tuple[str, Mapping[str, float]]]) -> str:
    """Text for the node exporter: of each metric its help, and the values by labels."""
    lines = []
    for name, (text, values) in families.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        lines += [f"{name}{'{' + labels + '}' if labels else ''} {value:.15g}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"
