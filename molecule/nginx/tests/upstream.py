"""A service behind the edge: streams events, tells what it was asked, and can be slow. Runs on the host itself."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVENTS, GAP_S = 5, 0.4


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, content: bytes, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Request-ID", self.headers["X-Request-ID"])
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def stream(self, *headers: tuple[str, str]) -> None:
        """Server-sent events with a gap between them, each in one chunk of more than the least that is compressed."""
        self.send_response(200)
        for name, value in (("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"), *headers):
            self.send_header(name, value)
        self.end_headers()
        for number in range(EVENTS):
            event = f"id: {number}\ndata: {'x' * 2000}\n\n".encode()
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()
            time.sleep(GAP_S)
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self) -> None:
        match self.path:
            case "/v1/chat/completions" | "/api/v1/jobs/7/events":
                self.stream()
            case "/marked-stream":
                self.stream(("X-Accel-Buffering", "no"))
            case "/hang":
                time.sleep(6)
                self.answer(b"{}")
            case "/own-headers":
                self.answer(b"{}", X_Frame_Options="DENY")
            case "/long":
                self.answer(json.dumps("word " * 1000).encode())
            case "/busy":
                self.send_response(503)
                self.send_header("Retry-After", "77")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case _:
                self.answer(json.dumps({"path": self.path, "headers": dict(self.headers)}).encode())

    def do_POST(self) -> None:
        left = length = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.answer(json.dumps({"length": length}).encode())


ThreadingHTTPServer(("127.0.0.1", 8001), Handler).serve_forever()
