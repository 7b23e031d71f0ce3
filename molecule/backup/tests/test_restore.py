"""playbooks/restore.yml: back to a moment, and nothing touched before it is sure."""

from __future__ import annotations

import pytest
from ask import manifests, play, qdrant, root, sql, start
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://back13"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"confirm": "another"}, "the name of the host was not given"),
        ({"confirm": "back13", "at": "2999-01-01 00:00"}, "is yet to come"),
        ({"confirm": "back13", "at": "2001-01-01 00:00"}, "nothing before that moment can be restored"),
        ({"confirm": "back13", "at": "yesterday"}, "is no moment"),
        ({"confirm": "back13", "parts": "everything"}, "expected database, vectors or both"),
    ],
    ids=["no confirmation", "future", "too old", "no moment", "no such part"],
)
def test_refused_and_nothing_is_touched(host: Host, variables: dict[str, str], message: str) -> None:
    before = sql(host, "SELECT pg_postmaster_start_time()")
    status, said = play(host, "restore", **variables)
    assert status != 0
    assert message in said
    assert sql(host, "SELECT pg_postmaster_start_time()") == before


def test_what_was_dropped_comes_back_and_what_came_later_does_not(host: Host) -> None:
    sql(host, "DROP TABLE IF EXISTS notes; CREATE TABLE notes (n int, said text); INSERT INTO notes VALUES (1, 'kept')")
    qdrant(host, "DELETE", "/collections/kept")
    qdrant(host, "PUT", "/collections/kept", {"vectors": {"size": 3, "distance": "Cosine"}})
    points = [{"id": n, "vector": [1, n, 2]} for n in range(50)]
    qdrant(host, "PUT", "/collections/kept/points?wait=true", {"points": points})
    done, said = start(host, "anchorage-backup.service")
    assert done.rc == 0, said
    sql(host, "INSERT INTO notes VALUES (2, 'after the backup')")
    moment = sql(host, "SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    root(host, "sleep 1.1")
    sql(host, "DELETE FROM notes; INSERT INTO notes VALUES (3, 'too late')")
    qdrant(host, "DELETE", "/collections/kept")
    root(host, "REDISCLI_AUTH=molecule-password-of-redis redis-cli SET answer old")

    status, said = play(host, "restore", confirm="back13", at=moment, parts="database,vectors")
    assert status == 0, said[-4000:]
    assert "LOST: all that was written to the database after" in said
    assert sql(host, "SELECT string_agg(said, ',' ORDER BY n) FROM notes") == "kept,after the backup"
    sql(host, "INSERT INTO notes VALUES (4, 'and on')")
    assert qdrant(host, "POST", "/collections/kept/points/count", {"exact": True})["count"] == 50
    assert root(host, "REDISCLI_AUTH=molecule-password-of-redis redis-cli GET answer") == ""
    assert not host.service("anchorage-restore-lock").is_running
    # A backup of what is now the truth was made, and a drill of it is good.
    assert manifests(host)[-1]["parts"]["postgres"]["tables"]["notes"]["rows"] == 2
    done, said = start(host, "anchorage-drill.service")
    assert done.rc == 0, said
