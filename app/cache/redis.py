"""The cache's store in server mode."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

log = structlog.get_logger(__name__)
KEY_PREFIX = "anchorage:answer:"
# After a failure Redis is left alone for this long, so that a hanging one slows few questions.
PAUSE_SECONDS = 5.0


class RedisStore:
    """The store of server mode, shared by all workers and hosts; its size is Redis's ``maxmemory``."""

    def __init__(
        self,
        url: str,
        password: str | None,
        pool_size: int,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        ca_file: Path | None = None,
    ) -> None:
        tls = {"ssl_ca_certs": ca_file and str(ca_file), "ssl_check_hostname": True}
        pool = redis.BlockingConnectionPool.from_url(
            url,
            password=password,
            max_connections=pool_size,
            # More questions at once than connections wait for one, they don't fail.
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # A connection that Redis closed meanwhile is opened anew, once; what is slow is not tried again.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            **(tls if url.startswith("rediss:") else {}),
        )
        self._redis = redis.Redis.from_pool(pool)
        self._clock = clock
        self._paused_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """Return an entry; None also when Redis does not answer."""
        if self._clock() < self._paused_until:
            return None
        try:
            value = await self._redis.get(KEY_PREFIX + key)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(error)
            return None
        return value.encode() if isinstance(value, str) else value

    async def put(self, key: str, value: bytes, ttl_s: int) -> bool:
        """Keep an entry, if Redis answers and takes it."""
        if self._clock() < self._paused_until:
            return False
        try:
            await self._redis.set(KEY_PREFIX + key, value, ex=ttl_s)
        except ResponseError as error:
            # It answers, and refuses: it is full, or read-only. Reading goes on.
            log.warning("cache.not_stored", error=type(error).__name__)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(error)
        else:
            return True
        return False

    async def check(self) -> None:
        """Raise when Redis does not answer."""
        await self._redis.ping()

    async def size(self) -> int | None:
        """All keys of the database, which is ours alone; None when Redis does not answer."""
        if self._clock() < self._paused_until:
            return None
        try:
            return int(await self._redis.dbsize())
        except (RedisError, OSError, TimeoutError):
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _pause(self, error: Exception) -> None:
        self._paused_until = self._clock() + PAUSE_SECONDS
        log.warning("cache.unavailable", error=type(error).__name__, pause_s=PAUSE_SECONDS)
