"""``SECRET_KEY`` is changed while API keys are in use, by processes that start one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from app.auth.keys import Keyring, Scope
from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap
from app.db.migrate import migrate
from app.db.session import Database
from app.errors import AuthenticationError
from app.providers.protocols import EmbeddingIdentity

OLD, NEW = "o" * 32, "n" * 32
# As processes are replaced: what each makes hashes under, and what else it accepts.
GENERATIONS: list[tuple[str, str | None]] = [(OLD, None), (OLD, NEW), (NEW, OLD), (NEW, None)]
SCOPES = frozenset({Scope.QUERY})


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    await migrate(made)
    await bootstrap(made, EmbeddingIdentity("m", "1", 4, normalised=True))
    yield made
    await made.close()


async def moved(keyring: Keyring) -> dict[str, bool]:
    return {key.name: key.moved for key in await keyring.known(DEFAULT_TENANT_ID)}


async def test_a_key_in_use_is_known_to_every_process_of_the_change_and_to_the_one_beside_it(
    database: Database,
) -> None:
    generations = [Keyring(database, present, other) for present, other in GENERATIONS]
    key = await generations[0].create(DEFAULT_TENANT_ID, "shop", SCOPES)
    for former, present in pairwise(generations):
        for process in (former, present, former):
            assert (await process.authenticate(key)).scopes == SCOPES
        made_meanwhile = await present.create(DEFAULT_TENANT_ID, "new", SCOPES)
        await former.authenticate(made_meanwhile)
        await generations[2].authenticate(made_meanwhile)
    with pytest.raises(AuthenticationError):
        await generations[0].authenticate(key)


async def test_a_key_that_is_not_used_meanwhile_is_named_and_ends_with_the_old_secret(database: Database) -> None:
    old, changing, new = (Keyring(database, *GENERATIONS[number]) for number in (0, 2, 3))
    used, unused = [await old.create(DEFAULT_TENANT_ID, name, SCOPES) for name in ("used", "unused")]
    assert await moved(changing) == {"used": False, "unused": False}
    await changing.authenticate(used)
    assert await moved(changing) == {"used": True, "unused": False}
    await new.authenticate(used)
    with pytest.raises(AuthenticationError):
        await new.authenticate(unused)
    await changing.authenticate(unused)
    assert await moved(changing) == {"used": True, "unused": True}


async def test_a_key_that_was_made_elsewhere_moves_when_it_is_registered_again(database: Database) -> None:
    old, changing, new = (Keyring(database, *GENERATIONS[number]) for number in (0, 2, 3))
    key = f"anc_admin_{'k' * 43}"
    assert await old.ensure(DEFAULT_TENANT_ID, "admin", key, SCOPES)
    assert not await changing.ensure(DEFAULT_TENANT_ID, "admin", key, SCOPES)
    await new.authenticate(key)


async def test_a_wrong_or_revoked_key_is_refused_in_the_change_too(database: Database) -> None:
    old, changing = (Keyring(database, *GENERATIONS[number]) for number in (0, 2))
    key = await old.create(DEFAULT_TENANT_ID, "shop", SCOPES)
    with pytest.raises(AuthenticationError):
        await changing.authenticate(key[:-1] + ("A" if key[-1] != "A" else "B"))
    await changing.revoke(DEFAULT_TENANT_ID, "shop")
    with pytest.raises(AuthenticationError):
        await changing.authenticate(key)
