"""Where Alertmanager's webhook arrives in tests: a small server that writes each alert it is told, with its time.

    receiver.py PORT FILE

Each line of FILE is ``{"at": seconds, "path": "/page", "status": "firing", "labels": {...}, "annotations": {...}}``,
with the request's token too. It needs nothing but Python, so that it runs on a lab host as it is.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """One request, one notification of a group of alerts."""

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Path(sys.argv[2]).open("a") as file:
            for alert in told["alerts"]:
                kept = {name: alert[name] for name in ("status", "labels", "annotations")}
                line = {"at": time.time(), "path": self.path, "token": self.headers.get("Authorization", ""), **kept}
                file.write(json.dumps(line) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Receiver).serve_forever()  # noqa: S104
