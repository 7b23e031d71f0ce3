"""``playbooks/secrets.yml`` changes every secret of a host that answers questions; none of them fails.

``make prove PART=secrets`` asks 20 a second. Here other hosts are tested on the same cores meanwhile.
"""

from __future__ import annotations

import pytest

from lab.host import Host
from tests.lab.secret_change import QUESTION, accepted, killed_at, make_key, questions, vault
from tests.lab.stack.conftest import Stack, play_command, play_environment

pytestmark = pytest.mark.lab
PLAYBOOK = "playbooks/secrets.yml"
ROTATED = ("secret_key", "postgres_password", "redis_password", "qdrant_api_key", "qdrant_read_only_api_key")
RATE_PER_S = 4.0


def rotate(stack: Stack, what: str) -> str:
    done = stack.play(PLAYBOOK, "-e", f"secrets_rotate={what}")
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def answers(stack: Stack, key: str) -> int:
    with stack.client(with_key=False) as client:
        return client.post("/api/v1/query", json=QUESTION, headers={"X-API-Key": key}).status_code


def on_disk(host: Host, name: str) -> str:
    return host.execute("cat", f"/etc/anchorage/credentials/{name}", root=True)


def test_every_secret_is_changed_and_no_question_fails(stack: Stack) -> None:
    key, old = make_key(stack.host, "shop"), vault(stack.lab)
    with questions(stack.service, key, RATE_PER_S) as load:
        said = rotate(stack, "redis,postgres,qdrant,secret_key")
    new = vault(stack.lab)
    assert load.report.sent > 200
    assert not load.report.failures, load.report
    assert {name for name in old if old[name] != new[name]} == {*ROTATED, "made"}
    assert (new["former"], new["ended"]) == ({}, {})
    assert set(accepted(stack.host, new).values()) == {True}
    assert set(accepted(stack.host, old).values()) == {False}
    assert (on_disk(stack.host, "secret_key"), on_disk(stack.host, "secret_key_other")) == (new["secret_key"], "")
    assert answers(stack, key) == 200
    assert not [name for name in ROTATED if old[name] in said or new[name] in said]
    # Unused from now on, it would keep the SECRET_KEY of the next change.
    stack.host.execute("anchorage", "keys", "revoke", "shop", root=True)


def test_a_change_that_was_killed_is_run_again_and_an_unused_key_keeps_the_old_secret_key(stack: Stack) -> None:
    """Killed while the spare colour serves alone; `make prove PART=secrets` kills at other places too."""
    key, attic, old = make_key(stack.host, "cut"), make_key(stack.host, "attic"), vault(stack.lab)
    with questions(stack.service, key, RATE_PER_S) as load:
        command = play_command(PLAYBOOK, "-e", "secrets_rotate=redis,secret_key")
        killed_at("Restart the active colour", command, play_environment(stack.lab))
        assert answers(stack, key) == 200
        said = rotate(stack, "redis,secret_key")
    assert not load.report.failures, load.report
    assert "attic" in said.split("Say what keeps the old SECRET_KEY")[1]
    assert vault(stack.lab)["former"] == {"secret_key": old["secret_key"]}
    assert not accepted(stack.host, old)["redis_password"]
    assert answers(stack, attic) == 200
    said = rotate(stack, "secret_key")
    assert vault(stack.lab)["former"] == {}, said
    assert (answers(stack, key), answers(stack, attic)) == (200, 200)


def test_a_name_that_is_none_is_refused_with_the_choices(stack: Stack) -> None:
    before = vault(stack.lab)
    refused = stack.play(PLAYBOOK, "-e", "secrets_rotate=redis,mysql")
    assert refused.returncode != 0
    assert "one or more of: redis, postgres, qdrant, secret_key" in " ".join(refused.stdout.split())
    assert vault(stack.lab) == before
