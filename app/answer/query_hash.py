"""A name for a question in logs: the same question of the same tenant has the same one, and it tells nothing."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

from app.cache.exact import normalise


class QueryHasher:
    """HMAC-SHA256 under a key that follows from ``SECRET_KEY``: without it no question can be tried against a log."""

    def __init__(self, secret_key: str) -> None:
        self._key = hmac.new(secret_key.encode(), b"query hash", hashlib.sha256).digest()

    def name(self, tenant_id: UUID, question: str) -> str:
        """16 hexadecimal digits."""
        said = tenant_id.bytes + normalise(question).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, said, "sha256").hex()[:16]
