"""API keys: shown once, kept as a keyed hash, looked up by their prefix.

A key reads ``anc_<prefix>_<secret>``. Only HMAC-SHA256 of the whole key under ``SECRET_KEY`` is stored, so a
copy of the database opens nothing; the secret has 256 bits, so a slow password hash would add nothing.

While ``SECRET_KEY`` is changed, ``SECRET_KEY_OTHER`` is accepted too. A hash can't be carried over without its key, so
each is made anew when its key is next used; ``secret_id`` says under which of the two it was made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import select, update

from app.db.models import ApiKey
from app.db.session import Database
from app.errors import AuthenticationError, ConfigurationError, PermissionDeniedError

_FORM = re.compile(r"anc_([a-z0-9]{4,16})_([A-Za-z0-9_-]{32,128})")
_REFUSED = "This API key is unknown, expired or revoked."


class Scope(StrEnum):
    """What a key may do; ``admin`` includes all."""

    QUERY = "query"
    INGEST = "ingest"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    tenant_id: UUID
    key_id: UUID
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raise PermissionDeniedError unless the key has the scope."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise PermissionDeniedError(f"This API key lacks the scope {scope.value!r}.")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it may be shown; ``state`` is live, revoked or expired.

    ``moved``: its hash no longer needs ``SECRET_KEY_OTHER``, or there is none.
    """

    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    state: str
    moved: bool


class Keyring:
    """Makes and recognises keys."""

    def __init__(self, database: Database, secret_key: str, other: str | None = None) -> None:
        """``other``: hashes under it are accepted too, while the secret key is changed; none is made."""
        self._database = database
        self._secret = secret_key.encode()
        self._other = other.encode() if other is not None else None
        self._secret_id = hmac.new(self._secret, b"secret id", hashlib.sha256).hexdigest()[:16]

    async def create(self, tenant_id: UUID, name: str, scopes: frozenset[Scope]) -> str:
        """Make a key and return it; it can't be read again."""
        key = f"anc_{secrets.token_hex(5)}_{secrets.token_urlsafe(32)}"
        async with self._database.session() as session:
            session.add(self._row(tenant_id, name, key, scopes))
        return key

    async def ensure(self, tenant_id: UUID, name: str, key: str, scopes: frozenset[Scope]) -> bool:
        """Register a key that was made elsewhere; False when it is there already.

        A former key of the same name is revoked: the new one takes its place.

        Raises:
            ConfigurationError: the key has another form, or its prefix belongs to a different secret.
        """
        match = _FORM.fullmatch(key)
        if match is None:
            raise ConfigurationError("The key must have the form anc_<prefix>_<secret>, with 32 or more in the secret.")
        async with self._database.session() as session:
            now = datetime.now(UTC)
            same_name = await session.scalars(
                select(ApiKey).where(ApiKey.tenant_id == tenant_id, ApiKey.name == name, ApiKey.revoked_at.is_(None))
            )
            for present in same_name:
                if self._matches(present.key_hash, key):
                    self._move(present, key)
                    return False
                present.revoked_at = now
            if await session.scalar(select(ApiKey.id).where(ApiKey.prefix == match.group(1))):
                raise ConfigurationError("The key's prefix is taken by another key. Make a new key.")
            session.add(self._row(tenant_id, name, key, scopes))
        return True

    async def known(self, tenant_id: UUID) -> list[KeyInfo]:
        """What is known of the tenant's keys, newest first."""
        now = datetime.now(UTC)
        async with self._database.session(reading=True) as session:
            rows = await session.scalars(
                select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.created_at.desc(), ApiKey.id)
            )
            return [
                KeyInfo(
                    row.name,
                    row.prefix,
                    tuple(row.scopes),
                    row.created_at,
                    _state(row, now),
                    self._other is None or row.secret_id == self._secret_id,
                )
                for row in rows
            ]

    async def revoke(self, tenant_id: UUID, name: str) -> int:
        """End all keys of that name at once; how many there were."""
        async with self._database.session() as session:
            live = (ApiKey.tenant_id == tenant_id, ApiKey.name == name, ApiKey.revoked_at.is_(None))
            ended = await session.scalars(
                update(ApiKey).where(*live).values(revoked_at=datetime.now(UTC)).returning(ApiKey.id)
            )
            return len(ended.all())

    async def authenticate(self, key: str) -> Principal:
        """Who holds this key. Raises AuthenticationError."""
        match = _FORM.fullmatch(key)
        if match is None:
            raise AuthenticationError(_REFUSED)
        async with self._database.session(reading=True) as session:
            found = await session.scalar(select(ApiKey).where(ApiKey.prefix == match.group(1)))
        # Compared also when there is none: the time taken says nothing.
        good = self._matches(found.key_hash if found else "0" * 64, key)
        if found is None or not good or _state(found, datetime.now(UTC)) != "live":
            raise AuthenticationError(_REFUSED)
        if self._other is not None and found.secret_id != self._secret_id:
            async with self._database.session() as session:
                self._move(await session.get_one(ApiKey, found.id), key)
        return Principal(found.tenant_id, found.id, frozenset(Scope(scope) for scope in found.scopes))

    def _matches(self, key_hash: str, key: str) -> bool:
        # Both are always compared: the time taken says nothing of which one it was.
        secrets_known = [self._secret] if self._other is None else [self._secret, self._other]
        return True in [hmac.compare_digest(key_hash, _hash(secret, key)) for secret in secrets_known]

    def _move(self, row: ApiKey, key: str) -> None:
        row.key_hash, row.secret_id = _hash(self._secret, key), self._secret_id

    def _row(self, tenant_id: UUID, name: str, key: str, scopes: frozenset[Scope]) -> ApiKey:
        return ApiKey(
            id=uuid4(),
            tenant_id=tenant_id,
            name=name,
            prefix=key.split("_")[1],
            key_hash=_hash(self._secret, key),
            secret_id=self._secret_id,
            scopes=sorted(scope.value for scope in scopes),
            created_at=datetime.now(UTC),
        )


def _hash(secret: bytes, key: str) -> str:
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()


def _state(row: ApiKey, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "live"
