"""What a Qdrant says of two collections that are not well: one that is optimised for ever, and one that is broken.

sick_qdrant.py PORT
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

COLLECTIONS = {"slow": "yellow", "broken": "red"}


class SickQdrant(BaseHTTPRequestHandler):
    """The two reads by which collections are looked at."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/collections").removeprefix("/")
        listed: dict[str, object] = {"collections": [{"name": one} for one in COLLECTIONS]}
        body = json.dumps({"result": {"status": COLLECTIONS[name]} if name else listed}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), SickQdrant).serve_forever()
