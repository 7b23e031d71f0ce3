"""Postgres: what is in it at one exact moment, pgBackRest, and whether its archive takes the log."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import BackupError, Settings, run

# The same text of a row on every server, whatever its settings are.
FIXED = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex';"
TRIES = 10


@dataclass(frozen=True)
class Server:
    """A Postgres behind a Unix socket: the one that serves, or a scratch one."""

    programs: Path
    socket: Path
    port: int
    database: str

    def ask(self, query: str, *, database: str | None = None) -> list[str]:
        """Lines of an answer; a BackupError says what Postgres says."""
        words = ["-XAtq", "-w", "-v", "ON_ERROR_STOP=1", *self.at(), "-d", database or self.database, "-f", "-"]
        return run([self.programs / "psql", *words], what="Postgres", stdin=query).splitlines()

    def one(self, query: str) -> str:
        """The one value that a query of the server itself gives."""
        return self.ask(query, database="postgres")[0]

    def at(self) -> list[str]:
        """Options of its programs that lead to it."""
        return ["-h", str(self.socket), "-p", str(self.port), "-U", "postgres"]


def serving(settings: Settings) -> Server:
    """The one that serves."""
    told = settings.postgres
    return Server(Path(told["programs"]), Path(told["socket"]), told["port"], told["database"])


def quoted(name: str) -> str:
    """An SQL name."""
    return '"' + name.replace('"', '""') + '"'


def tables(server: Server) -> list[str]:
    """The service's tables."""
    return server.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")


def counting(names: list[str], checked: list[str]) -> str:
    """Queries of which each says in JSON how many rows a table has and, of some, a checksum that knows no order."""
    queries = []
    for name in names:
        total = "coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text" if name in checked else "NULL"
        literal = name.replace("'", "''")
        queries.append(
            f"SELECT json_build_object('table', '{literal}', 'rows', count(*), 'checksum', {total}) "  # noqa: S608
            f"FROM public.{quoted(name)} t;"
        )
    return "\n".join(queries)


def content(server: Server, names: list[str], checked: list[str]) -> dict[str, dict[str, Any]]:
    """Rows and checksums of the tables, as they are."""
    return _told(server.ask(f"{FIXED}\n{counting(names, checked)}"))


def content_at_a_mark(server: Server, mark: str, checked: list[str]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Rows and checksums at exactly the moment of a restore point that is made for it, and where that is in the log.

    For an instant nobody may write: whoever did has ended, and whoever will comes after the mark. The locks go with
    the savepoint, but the transaction still sees that moment, so counting holds nobody up.
    """
    for last in range(TRIES, -1, -1):
        names = tables(server)
        locks = f"LOCK TABLE {', '.join('public.' + quoted(name) for name in names)} IN SHARE MODE;" if names else ""
        script = f"""
            {FIXED} SET lock_timeout = '2s';
            BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT still; {locks}
            SELECT 'mark ' || pg_create_restore_point('{mark}');
            ROLLBACK TO SAVEPOINT still;
            {counting(names, checked)}
            COMMIT;"""
        try:
            lines = server.ask(script)
            return next(line.split()[1] for line in lines if line.startswith("mark ")), _told(lines)
        except BackupError as error:
            # A long writer is let through; so is whoever makes or drops a table at this moment.
            if last == 0 or not any(word in str(error) for word in ("lock timeout", "deadlock", "does not exist")):
                raise
        time.sleep(3)
    raise AssertionError


def _told(lines: list[str]) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return {row["table"]: {"rows": row["rows"], "checksum": row["checksum"]} for row in rows}


def schema_revision(server: Server) -> str | None:
    """Of the service's database; None before its first migration."""
    there = server.ask("SELECT to_regclass('public.alembic_version') IS NOT NULL")[0] == "t"
    found = server.ask("SELECT version_num FROM public.alembic_version") if there else []
    return found[0] if found else None


def wait_for_archive(server: Server, lsn: str, patience: float) -> float:
    """Seconds until the log up to a position is in the archive."""
    began = time.monotonic()
    # The last byte before it: a position at a boundary belongs to another file from Postgres 17 on.
    segment = server.one(f"SELECT pg_walfile_name('{lsn}'::pg_lsn - 1)")
    while time.monotonic() - began < patience:
        archived = server.one("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")
        # Without the timeline, as names sort within one; a file of a backup's label has more behind its name.
        if archived[8:24] >= segment[8:]:
            return time.monotonic() - began
        time.sleep(0.5)
    last = server.one("SELECT coalesce(last_failed_wal || ' at ' || last_failed_time, 'none') FROM pg_stat_archiver")
    raise BackupError(
        f"the archive did not take {segment} within {patience:.0f} s (last that failed: {last}); see "
        "`journalctl -t postgres -g archive`"
    )


class Pgbackrest:
    """pgBackRest with the role's configuration, as the user postgres."""

    def __init__(self, settings: Settings) -> None:
        self._stanza = settings.stanza

    def __call__(self, verb: str, *options: str) -> str:
        """What it says on its standard output."""
        words = ["pgbackrest", f"--stanza={self._stanza}", "--log-level-console=off", "--log-level-stderr=error"]
        return run([*words, *options, verb], what=f"pgBackRest {verb}")

    def version(self) -> str:
        """Of the program."""
        return run(["pgbackrest", "version"], what="pgBackRest").split()[-1]

    def backups(self) -> list[dict[str, Any]]:
        """All that it has, the oldest first; a wrong key or a broken repository is a BackupError."""
        try:
            stanzas = json.loads(self("info", "--output=json"))
        except ValueError:
            # It shows what it could not decrypt, which is no JSON.
            raise BackupError("pgBackRest info makes no sense: is the passphrase the repository's?") from None
        if not stanzas or stanzas[0]["status"]["code"] not in (0, 2):
            said = stanzas[0]["status"]["message"] if stanzas else "it knows no such stanza"
            raise BackupError(
                f"pgBackRest info: {said}; run site.yml, or see whether the passphrase is the repository's"
            )
        found: list[dict[str, Any]] = stanzas[0]["backup"]
        return found
