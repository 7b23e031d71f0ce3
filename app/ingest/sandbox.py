"""Parsing in a process of its own under limits: a hostile file ends that one, never the service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from app.errors import DocumentError, ErrorCode, UnsupportedMediaTypeError
from app.ingest.parse import Block, Parsed
from app.ingest.reader import PID, SIZES

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 60
WALL_SECONDS = 90.0


class Sandbox:
    """Hands each document to a fresh child of a reader process, which is started when it is first needed."""

    def __init__(self, wall_s: float = WALL_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._wall_s = wall_s
        self._memory_bytes = memory_bytes
        self._reader: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def parse(self, content: bytes, media_type: str, charset: str | None = None) -> Parsed:
        """``parse.parse`` in the child.

        Raises:
            DocumentError: the document's own fault, also when it went over a limit.
            UnsupportedMediaTypeError: it is none of what its type says.
        """
        answer = await self._ask({"do": "parse", "media_type": media_type, "charset": charset}, content)
        blocks = [Block(block["text"], tuple(block["heading_path"]), block["page"]) for block in answer["blocks"]]
        return Parsed(answer["title"], blocks)

    async def check_pdf(self, content: bytes) -> None:
        """``parse.check_pdf`` in the child. Raises DocumentError."""
        await self._ask({"do": "check"}, content)

    async def close(self) -> None:
        """End the reader; children that still read end by themselves."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._reader is not None:
            await asyncio.to_thread(self._reader.wait)
            self._reader = None

    async def _ask(self, request: dict[str, Any], content: bytes) -> dict[str, Any]:
        request["limits"] = {"memory_bytes": self._memory_bytes, "cpu_s": CPU_SECONDS}
        sent = json.dumps(request).encode()
        stream, writer = await asyncio.open_connection(sock=self._connection())
        child = None
        said = b""
        try:
            async with asyncio.timeout(self._wall_s):
                (child,) = PID.unpack(await stream.readexactly(PID.size))
                writer.writelines([SIZES.pack(len(sent), len(content)), sent, content])
                await writer.drain()
                said = await stream.read()
                child = None
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            raise self._over_the_limit() from None
        finally:
            if child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        if not said:
            raise self._over_the_limit()
        return _without_errors(json.loads(said))

    def _connection(self) -> socket.socket:
        """Our end of a connection whose other end a child of the reader has."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                socket.send_fds(self._started(), [b"."], [theirs.fileno()])
            except BrokenPipeError:
                # The reader was ended by somebody, as by the kernel when memory was short.
                self._control = None
                socket.send_fds(self._started(), [b"."], [theirs.fileno()])
        return ours

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._reader = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-m", "app.ingest.reader", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "utf-8"},
                )
        return self._control

    def _over_the_limit(self) -> DocumentError:
        return DocumentError(
            ErrorCode.DOCUMENT_UNREADABLE,
            f"Reading the document took more than {CPU_SECONDS} s or {self._memory_bytes >> 20} MiB, or broke the "
            "reader. Split it, or save it again in a simpler form.",
        )


def _without_errors(answer: dict[str, Any]) -> dict[str, Any]:
    if "unsupported" in answer:
        raise UnsupportedMediaTypeError(answer["unsupported"])
    if "code" in answer:
        raise DocumentError(ErrorCode(answer["code"]), answer["detail"])
    return answer
