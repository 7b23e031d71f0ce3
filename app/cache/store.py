"""Where cached answers are kept. A store that fails is a miss, never an error."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol


class CacheStore(Protocol):
    """Bytes by key, each with its own time to live, which reading never extends."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, ttl_s: int) -> bool:
        """Keep an entry; False when the store did not take it."""
        ...

    async def check(self) -> None:
        """Raise when the store does not answer."""
        ...

    async def size(self) -> int | None:
        """How many keys it holds; None when it does not answer."""
        ...

    async def close(self) -> None: ...


class MemoryStore:
    """The store of embedded mode: least recently used entries leave first."""

    def __init__(self, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """Return a live entry."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    async def put(self, key: str, value: bytes, ttl_s: int) -> bool:
        """Keep an entry; the oldest goes when there is no room."""
        self._entries[key] = (self._clock() + ttl_s, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return True

    async def check(self) -> None:
        """Memory is there."""

    async def size(self) -> int:
        """Keys, also those whose time is over and that nobody has asked for since."""
        return len(self._entries)

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
