"""Parsing in a child process under limits: a hostile file ends the child, never the service."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from dataclasses import asdict
from typing import Any

from app.errors import DocumentError, ErrorCode, UnsupportedMediaTypeError
from app.ingest.parse import Block, Parsed, parse
from app.ingest.parse.pdf import check_pdf

MEMORY_BYTES = 1024 * 1024 * 1024
CPU_SECONDS = 60
WALL_SECONDS = 90


async def parse_limited(content: bytes, media_type: str, charset: str | None = None) -> Parsed:
    """``parse.parse`` in a child process.

    Raises:
        DocumentError: the document's own fault, also when it went over a limit.
    """
    answer = await _in_child(content, {"do": "parse", "media_type": media_type, "charset": charset})
    blocks = [Block(block["text"], tuple(block["heading_path"]), block["page"]) for block in answer["blocks"]]
    return Parsed(answer["title"], blocks)


async def check_pdf_limited(content: bytes) -> None:
    """``parse.check_pdf`` in a child process. Raises DocumentError."""
    await _in_child(content, {"do": "check"})


async def _in_child(content: bytes, request: dict[str, str | None]) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.ingest.sandbox", json.dumps(request)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "utf-8"},
    )
    try:
        async with asyncio.timeout(WALL_SECONDS):
            said, _ = await child.communicate(content)
    except TimeoutError:
        raise _over_the_limit() from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise _over_the_limit()
    answer: dict[str, Any] = json.loads(said)
    if "unsupported" in answer:
        raise UnsupportedMediaTypeError(answer["unsupported"])
    if "code" in answer:
        raise DocumentError(ErrorCode(answer["code"]), answer["detail"])
    return answer


def _over_the_limit() -> DocumentError:
    return DocumentError(
        ErrorCode.DOCUMENT_UNREADABLE,
        f"Reading the document took more than {CPU_SECONDS} s or {MEMORY_BYTES >> 20} MiB, or broke the reader. "
        "Split it, or save it again in a simpler form.",
    )


def _child() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.loads(sys.argv[1])
    content = sys.stdin.buffer.read()
    answer: dict[str, Any]
    try:
        if request["do"] == "check":
            check_pdf(content)
            answer = {}
        else:
            answer = asdict(parse(content, request["media_type"], request["charset"]))
    except UnsupportedMediaTypeError as error:
        answer = {"unsupported": error.detail}
    except DocumentError as error:
        answer = {"code": error.code.value, "detail": error.detail}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _child()
