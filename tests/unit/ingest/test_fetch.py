"""Fetching from an address: a real server on loopback, which only the allow-list opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from time import monotonic

import pytest

from app.errors import ErrorCode, PayloadTooLargeError, UrlError
from app.ingest.addresses import Address, networks
from app.ingest.fetch import Fetcher

LOOPBACK = networks(["127.0.0.1/32"])
Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A server that hands each request's head to the handler; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler((await reader.readuntil(b"\r\n\r\n")).decode(), writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test has ended
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def answer(status: str, body: bytes = b"", **headers: str) -> Handler:
    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        fields = {"Content-Length": str(len(body)), "Connection": "close", **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)
        await writer.drain()

    return handle


def resolving(**names: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[Address]]]:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        if host not in names:
            raise OSError("no such name")
        return [ip_address(text) for text in names[host]]

    return resolve


def fetcher(**options: object) -> Fetcher:
    values: dict[str, object] = {"max_bytes": 1000, "timeout_s": 5.0, "max_redirects": 5, "allowed": LOOPBACK}
    return Fetcher(**values | options)  # type: ignore[arg-type]


async def refused(work: Awaitable[object]) -> UrlError:
    with pytest.raises(UrlError) as caught:
        await work
    return caught.value


async def test_a_document_comes_with_its_type_and_the_address_that_was_asked() -> None:
    heads: list[str] = []

    async def handle(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await answer("200 OK", b"# Hours", Content_Type="text/markdown; charset=utf-8")(head, writer)

    async with serving(handle) as port:
        found = await fetcher().fetch(f"http://127.0.0.1:{port}/a%20b/hours?x=1#part")
    assert (found.content, found.content_type) == (b"# Hours", "text/markdown; charset=utf-8")
    assert found.url == f"http://127.0.0.1:{port}/a%20b/hours?x=1"
    assert heads[0].startswith("GET /a%20b/hours?x=1 HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{port}\r\n" in heads[0].lower()


async def test_a_type_that_says_nothing_is_read_from_the_name() -> None:
    async with serving(answer("200 OK", b"%PDF-", Content_Type="application/octet-stream")) as port:
        assert (await fetcher().fetch(f"http://127.0.0.1:{port}/m.pdf?v=2")).content_type == "application/pdf"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/x",
        "file:///etc/passwd",
        "gopher://example.org",
        "http://",
        "//example.org",
        "example.org",
        "http://user:secret@example.org/",
        "http://user@example.org/",
        "http://[fe80::1%25eth0]/",
        "http://exa\tmple.org/",
        "http://[::1",
        "http://example.org/" + "x" * 2000,
        "http://127.0.0.1/",
        "http://localhost/",
        "http://0/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
    ],
)
async def test_what_must_not_be_fetched_is_refused_before_anything_is_sent(url: str) -> None:
    assert (await refused(fetcher(allowed=()).fetch(url))).code is ErrorCode.URL_FORBIDDEN


async def test_a_name_is_refused_for_any_forbidden_address_among_its_own() -> None:
    names = resolving(mixed=["93.184.215.14", "10.0.0.1"], inside=["192.168.0.1"], none=[])
    for host in ("mixed", "inside", "none"):
        error = await refused(fetcher(resolve=names).fetch(f"http://{host}/"))
        assert error.code is ErrorCode.URL_FORBIDDEN
    assert (await refused(fetcher(resolve=names).fetch("http://gone/"))).code is ErrorCode.URL_UNREACHABLE


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """DNS rebinding: the name is looked up once for a hop, and what it says then is what is connected to."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        return [ip_address("127.0.0.1" if len(asked) == 1 else "10.0.0.1")]

    async with serving(answer("200 OK", b"text", Content_Type="text/plain")) as port:
        found = await fetcher(resolve=rebinding).fetch(f"http://example.test:{port}/")
    assert (found.content, asked) == (b"text", ["example.test"])


async def test_each_hop_of_a_redirect_is_checked() -> None:
    names = resolving(public=["127.0.0.1"], inside=["10.0.0.1"])
    for target in ("http://inside/", "http://10.0.0.1/", "file:///etc/passwd", "http://u:p@public/", "//inside/x"):
        async with serving(answer("302 Found", Location=target)) as port:
            error = await refused(fetcher(resolve=names).fetch(f"http://public:{port}/"))
        # An address as such is looked up too: the resolver above doesn't know it.
        assert error.code in (ErrorCode.URL_FORBIDDEN, ErrorCode.URL_UNREACHABLE), target
        assert "10.0.0.1" not in error.detail


async def test_redirects_are_followed_so_many_times() -> None:
    def chain(hops: int) -> Handler:
        async def handle(head: str, writer: asyncio.StreamWriter) -> None:
            step = int(head.split()[1].strip("/") or 0)
            if step < hops:
                await answer("301 Moved", Location=f"/{step + 1}")(head, writer)
            else:
                await answer("200 OK", b"arrived", Content_Type="text/plain")(head, writer)

        return handle

    async with serving(chain(5)) as port:
        assert (await fetcher().fetch(f"http://127.0.0.1:{port}/")).content == b"arrived"
    async with serving(chain(6)) as port:
        assert "redirects" in (await refused(fetcher().fetch(f"http://127.0.0.1:{port}/"))).detail


@pytest.mark.parametrize("declared", [True, False])
async def test_more_than_a_document_may_have_is_not_read(declared: bool) -> None:
    sent = 0

    async def endless(_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        length = b"Content-Length: 100000000\r\n" if declared else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + length + b"\r\n")
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            sent += 1000
            await asyncio.sleep(0)

    async with serving(endless) as port:
        with pytest.raises(PayloadTooLargeError):
            await fetcher().fetch(f"http://127.0.0.1:{port}/")
    assert sent < 20_000_000


@pytest.mark.parametrize("where", ["head", "body", "silent"])
async def test_a_slow_server_is_left_in_time(where: str) -> None:
    async def drip(_: str, writer: asyncio.StreamWriter) -> None:
        if where == "silent":
            await asyncio.sleep(10)
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if where == "body" else b""))
        for _number in range(100):
            writer.write(b"X-a: b\r\n" if where == "head" else b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    start = monotonic()
    async with serving(drip) as port:
        error = await refused(fetcher(timeout_s=0.4).fetch(f"http://127.0.0.1:{port}/"))
        assert monotonic() - start < 2
    assert error.code is ErrorCode.URL_UNREACHABLE


@pytest.mark.parametrize(
    "handler",
    [
        answer("404 Not Found", b"no"),
        answer("204 No Content"),
        answer("206 Partial Content", b"par"),
        answer("500 Oops", b"no"),
        answer("302 Found"),
        answer("200 OK", b"\x1f\x8b", Content_Encoding="gzip"),
        answer("no HTTP at all"),
    ],
)
async def test_what_is_no_document_is_told(handler: Handler) -> None:
    async with serving(handler) as port:
        assert (await refused(fetcher().fetch(f"http://127.0.0.1:{port}/"))).code is ErrorCode.URL_UNREACHABLE
