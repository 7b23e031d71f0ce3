"""A model provider as tests need one: it speaks OpenAI's protocol, is slow to begin, and counts tokens as it is told.

model_server.py PORT SECONDS TOKENS
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, SECONDS, TOKENS = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])


class ModelServer(BaseHTTPRequestHandler):
    """Every chat gets the same words."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SECONDS)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        head = {"id": "1", "object": "chat.completion.chunk", "created": int(time.time()), "model": "slow"}
        told = {
            "index": 0,
            "delta": {"role": "assistant", "content": "It is taken at night [1]."},
            "finish_reason": None,
        }
        over = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"prompt_tokens": TOKENS, "completion_tokens": TOKENS, "total_tokens": 2 * TOKENS}
        for chunk in ({"choices": [told]}, {"choices": [over]}, {"choices": [], "usage": usage}):
            self.wfile.write(f"data: {json.dumps(head | chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), ModelServer).serve_forever()
