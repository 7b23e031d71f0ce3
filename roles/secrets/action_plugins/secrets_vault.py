"""The secrets of an inventory, in one vault-encrypted file on the control node.

``step: load`` adds what a release needs and the file lacks. The others take a change of a secret through its stages:

    begin   a new value is made; the old one stands under ``former``, and both are accepted
    end     the old one stands under ``ended``: it is being taken away
    finish  nothing of the old one is left

The file says how far a change has come, and is written before a host is touched. So a run that was broken off is taken
up by the next one, and ``site.yml`` in between does what the file says.
"""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.vault import AnsibleVaultError, VaultLib, get_file_vault_secret
from ansible.plugins.action import ActionBase

DIGITS_AND_LETTERS = string.ascii_letters + string.digits
LENGTHS = {
    "secret_key": 64,
    "postgres_password": 40,
    "redis_password": 40,
    "redis_monitor_password": 40,
    "qdrant_api_key": 40,
    "qdrant_read_only_api_key": 40,
    "llm_api_key": 40,
    "traces_secret": 40,
    "traces_api_key": 40,
    "traces_admin_password": 20,
    "grafana_admin_password": 40,
    "grafana_secret_key": 40,
    "ca_passphrase": 40,
    "backup_passphrase": 64,
}
# What is changed together, by the name that an operator gives.
GROUPS = {
    "redis": ("redis_password",),
    "postgres": ("postgres_password",),
    "qdrant": ("qdrant_api_key", "qdrant_read_only_api_key"),
    "secret_key": ("secret_key",),
}
# Keys of the service: the first one, which may all, and the one of the probe that asks questions.
API_KEYS = ("admin_api_key", "monitoring_api_key")
STEPS = ("load", "begin", "end", "finish")


@dataclass
class Vault:
    """What the file holds, all by the secrets' names; ``made`` has the UTC times of values that were made here.

    ``everywhere`` names those of ``former`` whose new value all hosts go by, while the old one is still needed.
    """

    values: dict[str, str]
    former: dict[str, str] = field(default_factory=dict)
    everywhere: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Vault:
        """From the file's mapping; whatever is text in it is kept."""
        stages = {stage: dict(mapping.get(stage) or {}) for stage in ("former", "ended", "made")}
        everywhere = list(mapping.get("everywhere") or [])
        values = {name: str(value) for name, value in mapping.items() if name not in (*stages, "everywhere")}
        return cls(values, everywhere=everywhere, **stages)

    def mapping(self) -> dict[str, Any]:
        """For the file, and for the plays."""
        stages = {"former": self.former, "everywhere": self.everywhere, "ended": self.ended, "made": self.made}
        return {**self.values, **stages}

    def make_missing(self, now: datetime) -> None:
        """Add what is not there yet; nothing is replaced."""
        for name in (*LENGTHS, *API_KEYS):
            if name not in self.values:
                self._make(name, now)

    def begin(self, groups: Iterable[str], now: datetime) -> None:
        """Make new values. A secret whose change was begun before keeps the one that it has."""
        for name in (name for group in groups for name in GROUPS[group]):
            if name not in self.former and name not in self.ended:
                self.former[name] = self.values[name]
                self._make(name, now)

    def end(self, kept: Iterable[str]) -> None:
        """The old values go, but for those that are still needed. All hosts go by the new ones."""
        for name in set(self.former) - set(kept):
            self.ended[name] = self.former.pop(name)
        self.everywhere = sorted(self.former)

    def ages(self, now: datetime) -> list[dict[str, Any]]:
        """Of each secret: its day and age (None: made before that was written down), what changes it, how far it is."""
        changed_by = {name: group for group, names in GROUPS.items() for name in names}
        rows = []
        for name in sorted(self.values):
            made = datetime.fromisoformat(self.made[name]) if name in self.made else None
            state = "old one accepted" if name in self.former else "old one ending" if name in self.ended else ""
            rows.append({
                "secret": name,
                "made": made.date().isoformat() if made else "unknown",
                "days": (now - made).days if made else None,
                "group": changed_by.get(name, ""),
                "state": state,
            })  # fmt: skip
        return rows

    def overdue(self, now: datetime, days: int) -> list[str]:
        """One line, with the cure, of each group that has a secret of that age."""
        old = [row for row in self.ages(now) if row["group"] and (row["days"] or 0) >= days]
        return [
            f"{row['secret']} is {row['days']} days old. Change it: "
            f"ansible-playbook playbooks/secrets.yml -e secrets_rotate={row['group']}"
            for row in old
        ]

    def _make(self, name: str, now: datetime) -> None:
        if name in API_KEYS:
            value = f"anc_{_random(10, string.ascii_lowercase + string.digits)}_{_random(43)}"
        else:
            value = _random(LENGTHS[name])
        self.values[name] = value
        self.made[name] = now.isoformat(timespec="seconds")


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines for an operator's eyes."""
    line = "{:<26}{:<12}{:>8}  {:<12}{}"
    head = line.format("secret", "made", "days", "change by", "")
    body = [
        line.format(
            row["secret"], row["made"], "-" if row["days"] is None else row["days"], row["group"] or "-", row["state"]
        )
        for row in rows
    ]
    return [text.rstrip() for text in [head, *body]]


def _random(length: int, alphabet: str = DIGITS_AND_LETTERS) -> str:
    while True:
        value = "".join(secrets.choice(alphabet) for _ in range(length))
        # Qdrant would take a key without a letter for a number.
        if any(character.isalpha() for character in value):
            return value


def read(file: Path, lib: VaultLib) -> Vault:
    """An inventory without the file has no secrets yet."""
    if not file.exists():
        return Vault({})
    try:
        text = lib.decrypt(file.read_bytes())
    except AnsibleVaultError as error:
        raise AnsibleActionFail(
            f"{file} can't be decrypted ({error}). It needs the vault password that it was written with: name the file "
            "that has it with ANSIBLE_VAULT_PASSWORD_FILE."
        ) from None
    return Vault.of(yaml.safe_load(text))


def write(file: Path, vault: Vault, lib: VaultLib, secret: Any) -> None:
    """All or nothing, whenever it is killed: hosts may be left with values that only this file has."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as handle:
        handle.write(lib.encrypt(yaml.safe_dump(vault.mapping()), secret))
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the control node, within Ansible. Returns ``values`` (all of the file) and ``table`` (their ages)."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """In check mode nothing is written: a bare inventory works with values made for that run alone."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec({
            "file": {"type": "path", "required": True},
            "password_file": {"type": "path", "required": True},
            "step": {"type": "str", "choices": list(STEPS), "default": "load"},
            "groups": {"type": "list", "elements": "str", "choices": list(GROUPS), "default": []},
            "kept": {"type": "list", "elements": "str", "default": []},
            "max_age_days": {"type": "int", "default": 365},
        })  # fmt: skip
        file, now = Path(arguments["file"]), datetime.now(UTC)
        secret = self._password(Path(arguments["password_file"]))
        lib = VaultLib([("default", secret)])
        vault = read(file, lib)
        before = yaml.safe_dump(vault.mapping())
        vault.make_missing(now)
        if arguments["step"] == "begin":
            vault.begin(arguments["groups"], now)
        elif arguments["step"] == "end":
            vault.end(arguments["kept"])
        elif arguments["step"] == "finish":
            vault.ended.clear()
        changed = yaml.safe_dump(vault.mapping()) != before
        if changed and not self._task.check_mode:
            write(file, vault, lib, secret)
        if arguments["step"] in ("load", "begin"):
            for warning in vault.overdue(now, arguments["max_age_days"]):
                self._display.warning(warning)
        # The values are in what is returned, and in no log.
        told = {"values": vault.mapping(), "table": table(vault.ages(now)), "_ansible_no_log": True}
        return {**result, "changed": changed, **told}

    def _password(self, file: Path) -> Any:
        cure = "Run `make setup`, which makes one, or name yours with ANSIBLE_VAULT_PASSWORD_FILE."
        if not file.is_file():
            raise AnsibleActionFail(f"There is no vault password at {file}, so secrets can't be encrypted. {cure}")
        secret = get_file_vault_secret(filename=str(file), loader=self._loader)
        secret.load()
        if not secret.bytes:
            raise AnsibleActionFail(f"The vault password at {file} is empty, so secrets can't be encrypted. {cure}")
        return secret
