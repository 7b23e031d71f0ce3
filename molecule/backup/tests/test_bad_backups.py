"""A backup that is not good is found by the drill, and it says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ask import REPOSITORY, manifests, metric, root, sql, start
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://back13"]
ARCHIVE = f"{REPOSITORY}/postgres"


@pytest.fixture(scope="module", autouse=True)
def good(host: Host) -> Iterator[None]:
    """One to make bad; and afterwards nothing is bad any more."""
    sql(host, "CREATE TABLE IF NOT EXISTS notes (n int, said text); INSERT INTO notes VALUES (0, 'before')")
    done, said = start(host, "anchorage-backup.service")
    assert done.rc == 0, said
    yield
    done, said = start(host, "anchorage-drill.service")
    assert done.rc == 0, said


@contextmanager
def away(host: Host, path: str) -> Iterator[None]:
    """A file or folder is kept elsewhere for the time."""
    root(host, f"mv {path} /var/lib/kept-elsewhere")
    try:
        yield
    finally:
        root(host, f"rm -rf {path}; mv /var/lib/kept-elsewhere {path}")


def refused(host: Host, part: str, *words: str) -> None:
    done, said = start(host, "anchorage-drill.service")
    assert done.rc != 0
    assert metric(host, "anchorage_drill_success") == 0
    assert metric(host, f'anchorage_drill_part_success{{part="{part}"}}') == 0
    report = root(host, "cat /var/log/anchorage/drill.txt")
    assert "UTC: FAILED" in report
    line = next(line for line in report.splitlines() if line.startswith(f"{part}: FAILED"))
    assert any(word in line for word in words), said
    assert root(host, f"ls -A {REPOSITORY}/scratch") == ""
    root(host, "systemctl reset-failed anchorage-drill.service")


def test_a_corrupt_file_of_the_repository(host: Host) -> None:
    label = manifests(host)[-1]["parts"]["postgres"]["label"].split("_")[0]
    files = root(host, f"find {ARCHIVE}/backup/anchorage/{label}/pg_data/base -type f -printf '%s %p\\n' | sort -n")
    largest = files.splitlines()[-1].split()[1]
    with away(host, largest):
        root(host, f"cp -a /var/lib/kept-elsewhere {largest}")
        root(host, f"head -c 64 /dev/zero | dd of={largest} bs=1 seek=4096 conv=notrunc status=none")
        refused(host, "postgres", "pgBackRest restore")


def test_a_missing_file_of_the_log(host: Host) -> None:
    sql(host, "INSERT INTO notes VALUES (1, 'in the file that will be missing')")
    segment = sql(host, "SELECT pg_walfile_name(pg_switch_wal())")
    root(host, f"timeout 30 sh -c 'until find {ARCHIVE}/archive -name {segment}-* | grep -q .; do sleep 0.2; done'")
    with away(host, root(host, f"find {ARCHIVE}/archive -name '{segment}-*'")):
        refused(host, "postgres", "recovery ended before configured recovery target was reached")


def test_no_set_at_all(host: Host) -> None:
    with away(host, f"{REPOSITORY}/sets"):
        root(host, f"install -d -o postgres -g postgres -m 0700 {REPOSITORY}/sets")
        refused(host, "postgres", "there is no backup of postgres")


def test_a_truncated_file_of_the_set(host: Host) -> None:
    newest = manifests(host)[-1]
    name = newest["parts"]["configuration"]["file"]
    with away(host, f"{newest['path']}/{name}"):
        root(host, f"head -c 1000 /var/lib/kept-elsewhere > {newest['path']}/{name}")
        root(host, f"chown postgres: {newest['path']}/{name}")
        refused(host, "configuration", "truncated?")


def test_another_passphrase(host: Host) -> None:
    with away(host, "/etc/pgbackrest.conf"):
        root(host, "cp -a /var/lib/kept-elsewhere /etc/pgbackrest.conf")
        root(host, "sed -i 's/^repo1-cipher-pass=.*/repo1-cipher-pass=another/' /etc/pgbackrest.conf")
        refused(host, "postgres", "pgBackRest")


def test_other_content_than_the_manifest_says(host: Host) -> None:
    newest = manifests(host)[-1]["path"]
    with away(host, f"{newest}/manifest.json"):
        change = r's/"checksum": "-\?[0-9]*"/"checksum": "1"/'
        root(host, f"cp -a /var/lib/kept-elsewhere {newest}/manifest.json; sed -i '{change}' {newest}/manifest.json")
        refused(host, "postgres", "the table notes has")


def test_a_part_that_can_not_be_backed_up_fails_alone(host: Host) -> None:
    root(host, "systemctl stop qdrant.service")
    try:
        done, said = start(host, "anchorage-backup.service")
    finally:
        root(host, "systemctl start qdrant.service")
    root(host, "systemctl reset-failed anchorage-backup.service")
    assert done.rc != 0
    assert "qdrant: FAILED: Qdrant does not answer" in said
    assert set(manifests(host)[-1]["parts"]) == {"postgres", "redis", "configuration"}
    assert metric(host, 'anchorage_backup_success{part="qdrant"}') == 0
    assert metric(host, 'anchorage_backup_success{part="postgres"}') == 1


def test_two_operations_keep_apart(host: Host) -> None:
    root(host, "systemd-run --quiet --unit=held flock /run/lock/anchorage/operations.lock sleep 60; sleep 0.5")
    try:
        done, said = start(host, "anchorage-drill.service")
    finally:
        root(host, "systemctl stop held.service; systemctl reset-failed anchorage-drill.service")
    assert done.rc != 0
    assert "another backup, drill or restore holds" in said
