"""A constant rate of requests to a lab host, while something there is changed: was any of them dropped?"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

RATE_PER_S = 20.0
TIMEOUT_S = 30.0


@dataclass
class Report:
    """What became of the requests; ``failures`` counts by reason, ``slowest_s`` is of those that succeeded."""

    succeeded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def sent(self) -> int:
        """All of them."""
        return self.succeeded + self.failures.total()


class ConstantLoad:
    """Sends while the ``with`` block runs, each request at its time, whether or not those before it have ended.

    Each has a connection of its own: a client that keeps one open may lose the race against any server that closes
    it, which says nothing about the change under test.
    """

    def __init__(self, url: str, *, context: ssl.SSLContext, rate_per_s: float = RATE_PER_S, **request: Any) -> None:
        """``request`` is what ``httpx.AsyncClient.request`` takes; without ``method`` it is a GET."""
        self._request = {"method": "GET", "url": url, **request}
        self._context = context
        self._pause_s = 1 / rate_per_s
        self._stopping = threading.Event()
        self._sender = ThreadPoolExecutor(1)
        self.report = Report()

    def __enter__(self) -> Self:
        self._sending = self._sender.submit(lambda: asyncio.run(self._run()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        # A load that broke off is no load: what ended it is raised here.
        self._sending.result(TIMEOUT_S + 10)
        self._sender.shutdown()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        client = httpx.AsyncClient(verify=self._context, limits=limits, timeout=TIMEOUT_S)
        async with client, asyncio.TaskGroup() as group:
            due = time.monotonic()
            while not self._stopping.is_set():
                group.create_task(self._send(client))
                due += self._pause_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(self, client: httpx.AsyncClient) -> None:
        start = time.monotonic()
        try:
            answer = await client.request(**self._request)
        except httpx.HTTPError as error:
            self.report.failures[f"{type(error).__name__}: {error}"] += 1
            return
        if answer.is_success:
            self.report.succeeded += 1
            self.report.slowest_s = max(self.report.slowest_s, time.monotonic() - start)
        else:
            self.report.failures[f"status {answer.status_code}"] += 1
