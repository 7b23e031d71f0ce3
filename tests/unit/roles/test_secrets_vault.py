"""The vault file of an inventory: what is in it at each stage of a change, and that it survives whatever happens."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.vault import VaultLib, VaultSecret

PLUGIN = Path(__file__).resolve().parents[3] / "roles/secrets/action_plugins/secrets_vault.py"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("secrets_vault", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up by its module's name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


secrets_vault = plugin()


@pytest.fixture
def vault() -> Any:
    made = secrets_vault.Vault({})
    made.make_missing(NOW)
    return made


def test_what_is_missing_is_made_and_nothing_is_replaced(vault: Any) -> None:
    before = dict(vault.values)
    assert {"secret_key", "redis_password", "admin_api_key", "ca_passphrase"} <= set(before)
    assert len(set(before.values())) == len(before)
    del vault.values["redis_password"]
    vault.make_missing(NOW)
    assert vault.values.pop("redis_password") != before.pop("redis_password")
    assert vault.values == before


def test_a_change_goes_by_its_stages_and_a_run_that_is_repeated_makes_no_third_value(vault: Any) -> None:
    old = vault.values["redis_password"]
    for _ in range(2):
        vault.begin(["redis"], NOW)
        new = vault.values["redis_password"]
        assert (vault.former, vault.ended) == ({"redis_password": old}, {})
    vault.end([])
    vault.begin(["redis"], NOW)
    assert (vault.values["redis_password"], vault.former, vault.ended) == (new, {}, {"redis_password": old})
    vault.ended.clear()
    vault.begin(["redis"], NOW)
    assert vault.former == {"redis_password": new}


def test_what_an_old_secret_is_needed_for_keeps_it(vault: Any) -> None:
    vault.begin(["secret_key", "qdrant"], NOW)
    assert vault.everywhere == []
    vault.end(["secret_key"])
    assert set(vault.former) == {"secret_key"}
    assert set(vault.ended) == {"qdrant_api_key", "qdrant_read_only_api_key"}
    assert secrets_vault.Vault.of(vault.mapping()).everywhere == ["secret_key"]
    vault.begin(["secret_key"], NOW)
    assert vault.everywhere == ["secret_key"]
    vault.end([])
    assert (vault.former, vault.everywhere) == ({}, [])


def test_ages_are_told_and_an_old_one_with_its_cure(vault: Any) -> None:
    later = NOW + timedelta(days=400)
    vault.begin(["redis"], later)
    rows = {row["secret"]: row for row in vault.ages(later)}
    assert (rows["secret_key"]["days"], rows["redis_password"]["days"]) == (400, 0)
    overdue = vault.overdue(later, 365)
    assert any("secret_key is 400 days old" in line and "secrets_rotate=secret_key" in line for line in overdue)
    assert not any("redis" in line for line in overdue)
    shown = "\n".join(secrets_vault.table(vault.ages(later)))
    assert "old one accepted" in shown
    assert not [value for value in vault.values.values() if value in shown]


def test_the_file_is_encrypted_whole_and_owned_alone(tmp_path: Path, vault: Any) -> None:
    secret = VaultSecret(b"password")
    lib, file = VaultLib([("default", secret)]), tmp_path / "secrets/vault.yml"
    vault.begin(["postgres"], NOW)
    # A run that was killed in the midst of writing.
    file.parent.mkdir()
    file.with_suffix(".new").write_text("half a fi")
    secrets_vault.write(file, vault, lib, secret)
    assert file.stat().st_mode & 0o077 == 0
    assert file.read_bytes().startswith(b"$ANSIBLE_VAULT;")
    assert secrets_vault.read(file, lib) == vault
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(AnsibleActionFail, match="ANSIBLE_VAULT_PASSWORD_FILE"):
        secrets_vault.read(file, VaultLib([("default", VaultSecret(b"another"))]))


def test_a_file_of_an_earlier_release_is_understood(tmp_path: Path) -> None:
    secret = VaultSecret(b"password")
    lib, file = VaultLib([("default", secret)]), tmp_path / "vault.yml"
    file.write_bytes(lib.encrypt("redis_password: old\nmy_own: 7\n", secret))
    vault = secrets_vault.read(file, lib)
    assert vault.values == {"redis_password": "old", "my_own": "7"}
    row = vault.ages(NOW)[-1]
    assert (row["secret"], row["made"], row["days"]) == ("redis_password", "unknown", None)
