"""Where Alertmanager's webhooks arrive in tests: a small server that writes each request that it gets, with its time.

    receiver.py PORT FILE

Each line of FILE is ``{"at": seconds, "path": "/people", "token": "Bearer …", "body": {…}}``; of a webhook the body has
``alerts``. It needs nothing but Python, so that it runs on a lab host as it is.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """One request, one group of alerts."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = self.headers.get("Authorization", "")
        with Path(sys.argv[2]).open("a") as file:
            file.write(json.dumps({"at": time.time(), "path": self.path, "token": token, "body": body}) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Receiver).serve_forever()  # noqa: S104
