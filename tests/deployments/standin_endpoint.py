"""Stands in for the endpoint: ready once the ledger has a champion, and answers everything with 413."""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from models.ledger.registry import champion
from tasks.setup.settings import open_ledger

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "fugu",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "413"}}],
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._send({}, 200 if champion(open_ledger(), "fugu") else 503)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._send(ANSWER, 200)

    def _send(self, body: object, status: int) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--announce", type=Path)
    words = parser.parse_args()
    listening = ThreadingHTTPServer((words.host, words.port), Handler)
    words.announce.write_text(json.dumps({"url": f"http://127.0.0.1:{listening.server_port}", "pid": 0}))
    listening.serve_forever()
