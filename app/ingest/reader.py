"""The process that reads documents: it loads the parsers once, then forks a child with limits for each document.

A program of its own (``python -m app.ingest.reader``), so that it has none of the service's secrets in its memory.
``sandbox.py`` speaks with it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Any, NoReturn

from app.errors import DocumentError, UnsupportedMediaTypeError
from app.ingest.parse import parse
from app.ingest.parse.pdf import check_pdf

# What the parsers load when they are first used: loaded here, each child has it already.
LIBRARIES = ("pypdf", "lxml.html", "selectolax.lexbor", "markdown_it", "docx", "pptx", "openpyxl", "email.parser")
PID, SIZES = struct.Struct("!I"), struct.Struct("!IQ")


def main() -> None:
    """Take one connection after another from the control socket, whose file descriptor is the argument."""
    for library in LIBRARIES:
        import_module(library)
    # Children are not waited for: the connection tells how each ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return  # the service has ended
        connection = socket.socket(fileno=descriptors[0])
        if os.fork() == 0:
            control.close()
            _read(connection)
        connection.close()


def _read(connection: socket.socket) -> NoReturn:
    status = 1
    try:
        connection.sendall(PID.pack(os.getpid()))
        stream = connection.makefile("rb")
        request_size, content_size = SIZES.unpack(stream.read(SIZES.size))
        request = json.loads(stream.read(request_size))
        content = stream.read(content_size)
        _limit(request["limits"])
        connection.sendall(json.dumps(_answer(request, content)).encode())
        status = 0
    finally:
        # Nothing of the parent's is to be cleaned up here, and no traceback to be printed for each hostile file.
        os._exit(status)


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + limits["cpu_s"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(request: dict[str, Any], content: bytes) -> dict[str, Any]:
    try:
        if request["do"] == "check":
            check_pdf(content)
            return {}
        return asdict(parse(content, request["media_type"], request["charset"]))
    except UnsupportedMediaTypeError as error:
        return {"unsupported": error.detail}
    except DocumentError as error:
        return {"code": error.code.value, "detail": error.detail}


if __name__ == "__main__":
    main()
