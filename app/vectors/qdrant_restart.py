"""A Qdrant that restarts, for another key or release, costs questions a moment and no answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx
import structlog
from qdrant_client.http.exceptions import ResponseHandlingException

log = structlog.get_logger(__name__)
PAUSE_SECONDS = 0.1
# What a server that stops or has not begun to listen does to a request. A slow one is another matter.
_RESTARTING = (httpx.NetworkError, httpx.RemoteProtocolError)
Send = Callable[[httpx.Request], Awaitable[httpx.Response]]


class RestartPatience:
    """Middleware of the client: sends again what met no server, until ``patience_s`` after the first such request.

    All requests to Qdrant can be repeated: points are written and removed by their ids. The time counts for all of
    them together: of a server that stays away, requests learn at once.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._away_since: float | None = None

    async def __call__(self, request: httpx.Request, send: Send) -> httpx.Response:
        """Raises ResponseHandlingException as the client does, when the patience is over."""
        while True:
            try:
                response = await send(request)
            except ResponseHandlingException as error:
                if not isinstance(error.source, _RESTARTING) or not self._may_wait():
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._away_since = None
                return response

    def _may_wait(self) -> bool:
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            log.warning("qdrant.away", patience_s=self._patience_s)
        return now - self._away_since < self._patience_s
