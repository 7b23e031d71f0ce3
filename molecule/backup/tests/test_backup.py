"""A backup, what it holds, and a drill of it; on both releases of Debian."""

from __future__ import annotations

import pytest
from ask import METRICS, REPOSITORY, manifests, metric, qdrant, root, sql, start
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

UNITS = [f"anchorage-{name}" for name in ("backup", "vectors-backup", "drill")]


@pytest.fixture(scope="module")
def backed_up(host: Host) -> str:
    """Rows, points and a key; all of it backed up. What the unit said."""
    sql(host, "CREATE TABLE IF NOT EXISTS notes (n int, said text)")
    sql(host, "INSERT INTO notes SELECT n, 'a secret note ' || n FROM generate_series(1, 500) n")
    qdrant(host, "PUT", "/collections/kept", {"vectors": {"size": 3, "distance": "Cosine"}})
    points = [{"id": n, "vector": [1, n, 2], "payload": {"said": "a secret note"}} for n in range(50)]
    qdrant(host, "PUT", "/collections/kept/points?wait=true", {"points": points})
    actions = [{"create_alias": {"alias_name": "asked", "collection_name": "kept"}}]
    qdrant(host, "POST", "/collections/aliases", {"actions": actions})
    root(host, "REDISCLI_AUTH=molecule-password-of-redis redis-cli SAVE")
    done, said = start(host, "anchorage-backup.service")
    assert done.rc == 0, said
    return said


def test_the_role_has_made_the_first_one(host: Host) -> None:
    first = manifests(host)[0]["parts"]
    assert first["postgres"]["type"] == "full"
    assert set(first) == {"postgres", "qdrant", "redis", "configuration"}


def test_a_backup_says_what_is_in_it(host: Host, backed_up: str) -> None:
    newest = manifests(host)[-1]
    parts = newest["parts"]
    assert parts["postgres"]["tables"]["notes"]["rows"] == int(sql(host, "SELECT count(*) FROM notes"))
    assert parts["postgres"]["tables"]["notes"]["checksum"]
    assert parts["postgres"]["type"] == "diff"
    assert parts["qdrant"]["collections"]["kept"]["points"] == [50, 50]
    assert parts["qdrant"]["aliases"] == {"asked": "kept"}
    assert "/etc/anchorage" in parts["configuration"]["paths"]
    assert parts["redis"]["file"]
    assert newest["versions"]["postgres"].startswith({"back13": "17.", "back12": "15."}[host.backend.host])
    assert set(newest["files"]) == set(root(host, f"ls {newest['path']}").split()) - {"manifest.json"}
    for part in parts:
        assert metric(host, f'anchorage_backup_success{{part="{part}"}}') == 1
        now = int(host.check_output("date +%s"))
        assert now - 300 < metric(host, f'anchorage_backup_last_success_timestamp_seconds{{part="{part}"}}') < now + 1


def test_nothing_of_it_is_left_on_qdrant_or_readable_without_the_passphrase(host: Host, backed_up: str) -> None:
    assert qdrant(host, "GET", "/collections/kept/snapshots") == []
    with host.sudo():
        assert host.run(f"grep -rls -e 'a secret note' -e 'molecule-full-access-ke[y]' {REPOSITORY}").stdout == ""
    assert "molecule-passphrase" not in backed_up
    assert host.run(f"ls {REPOSITORY}").rc != 0


def test_a_drill_restores_it_and_leaves_nothing(host: Host, backed_up: str) -> None:
    serving = sql(host, "SELECT pg_postmaster_start_time()")
    done, said = start(host, "anchorage-drill.service")
    assert done.rc == 0, said
    assert metric(host, "anchorage_drill_success") == 1
    assert metric(host, 'anchorage_drill_part_success{part="postgres"}') == 1
    assert int(host.check_output("date +%s")) - metric(host, "anchorage_drill_last_success_timestamp_seconds") < 60
    assert 0 < metric(host, "anchorage_drill_rto_seconds") < 60
    assert 0 <= metric(host, "anchorage_drill_rpo_seconds") < 30
    report = root(host, "cat /var/log/anchorage/drill.txt")
    assert "UTC: good" in report
    assert "rows of 1 tables as in the manifest, the content of 1 too" in report
    assert root(host, f"ls -A {REPOSITORY}/scratch") == ""
    assert [item["name"] for item in qdrant(host, "GET", "/collections")["collections"]] == ["kept"]
    assert sql(host, "SELECT pg_postmaster_start_time()") == serving


def test_the_vectors_alone_are_a_set_too(host: Host, backed_up: str) -> None:
    done, said = start(host, "anchorage-vectors-backup.service")
    assert done.rc == 0, said
    assert set(manifests(host)[-1]["parts"]) == {"qdrant"}
    # What is known of the other parts is still told.
    assert metric(host, 'anchorage_backup_success{part="postgres"}') == 1


def test_timers_are_on_and_wait_for_their_hour(host: Host) -> None:
    timers = root(host, "systemctl list-timers --all --no-pager 'anchorage-*'")
    for unit in UNITS:
        assert host.service(f"{unit}.timer").is_enabled
        assert f"{unit}.timer" in timers


@pytest.mark.parametrize("unit", UNITS)
def test_exposure(host: Host, unit: str) -> None:
    assert breaches(exposures(host.check_output, {f"{unit}.service"})) == []


def test_what_is_told_can_be_read_by_the_exporter(host: Host, backed_up: str) -> None:
    assert host.file(f"{METRICS}/anchorage_backup.prom").mode == 0o644
