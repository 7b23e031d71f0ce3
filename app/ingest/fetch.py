"""Documents from an address on the web, fetched so that nobody reaches through the service into its own network.

Each name is resolved here, all its addresses are checked, and the connection goes to one of those that were: what the
name says a moment later (DNS rebinding) doesn't matter. Redirects go the same way, one hop at a time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any

import httpcore
import httpx

from app.errors import ErrorCode, UrlError
from app.ingest.accept import too_large
from app.ingest.addresses import Address, Network, may_fetch
from app.ingest.media import BY_SUFFIX, says_nothing

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_URL = 2000
AGENT = (b"User-Agent", b"anchorage")
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was at an address. ``url`` is the one that was asked for, without its fragment."""

    url: str
    content: bytes
    content_type: str | None


async def resolve(host: str, port: int) -> Sequence[Address]:
    """All addresses of a name, or the address that it is. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(address[0]) for *_, address in found]


class Fetcher:
    """Fetches one document at a time, within limits of size, time and redirects."""

    def __init__(
        self,
        *,
        max_bytes: int,
        timeout_s: float,
        max_redirects: int,
        allowed: Sequence[Network] = (),
        resolve: Resolve = resolve,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._backend = _CheckedBackend(allowed, resolve)

    async def fetch(self, url: str) -> Fetched:
        """Get a document; nothing is sent but the address.

        Raises:
            UrlError: the address, or one that it redirects to, is not allowed; or it gives no document.
            PayloadTooLargeError: it is larger than an upload may be.
        """
        asked = current = _parsed(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(self._max_redirects + 1):
                    status, headers, content = await self._get(current)
                    if status not in REDIRECTS or "location" not in headers:
                        return _document(asked, current, status, headers, content)
                    current = _parsed(headers["location"], current)
        except TimeoutError:
            raise _unreachable(f"did not give the document within {self._timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise _unreachable(f"can't be read ({type(error).__name__})") from error
        raise _unreachable(f"redirects more than {self._max_redirects} times")

    async def _get(self, url: httpx.URL) -> tuple[int, httpx.Headers, bytes]:
        """One request to one address; a redirect's body is not read."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = [(b"Host", url.netloc), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity"), AGENT]
        # Reading the system's authorities takes a while, once.
        trust = await asyncio.to_thread(lambda: self._trust) if url.scheme == "https" else None
        async with (
            httpcore.AsyncConnectionPool(ssl_context=trust, network_backend=self._backend) as pool,
            pool.stream("GET", target, headers=sent) as response,
        ):
            headers = httpx.Headers(response.headers)
            content = b"" if response.status in REDIRECTS else await self._body(response, headers)
            return response.status, headers, content

    async def _body(self, response: httpcore.Response, headers: httpx.Headers) -> bytes:
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise too_large(self._max_bytes)
        content = bytearray()
        async for piece in response.aiter_stream():
            content += piece
            if len(content) > self._max_bytes:
                raise too_large(self._max_bytes)
        return bytes(content)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that were checked, whatever name they go by."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise _unreachable("has a name that can't be found") from error
        # One forbidden address among others is how names are rebound.
        if not addresses or not all(may_fetch(address, self._allowed) for address in addresses):
            raise _forbidden(
                "leads into a network that documents may not come from; URL_FETCH_ALLOWED_NETWORKS names others"
            )
        for address in addresses[:-1]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        parsed = httpx.URL(url) if base is None else base.join(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise _forbidden("is no URL. Send one like https://example.org/manual.pdf") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _forbidden("is not of the web. Send one that begins with https:// or http://")
    if parsed.userinfo:
        raise _forbidden("holds credentials. Send it without them")
    if "%" in parsed.host or len(str(parsed)) > MAX_URL:
        raise _forbidden(f"names a network interface, or has more than {MAX_URL} characters")
    return parsed.copy_with(fragment=None)


def _document(asked: httpx.URL, final: httpx.URL, status: int, headers: httpx.Headers, content: bytes) -> Fetched:
    if status != 200:
        raise _unreachable(f"gives no document (HTTP {status})")
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise _unreachable("sends the document compressed, though it was asked not to")
    content_type = headers.get("content-type")
    if says_nothing(content_type):
        content_type = BY_SUFFIX.get(PurePosixPath(final.path).suffix.lower(), content_type)
    return Fetched(str(asked), content, content_type)


def _forbidden(what: str) -> UrlError:
    return UrlError(ErrorCode.URL_FORBIDDEN, f"The address {what}.")


def _unreachable(what: str) -> UrlError:
    return UrlError(ErrorCode.URL_UNREACHABLE, f"The address {what}.")
