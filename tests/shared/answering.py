"""An OpenAI-compatible upstream on loopback, for programs that are started: what a model answers is a function."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

Answer = Callable[[str], str]
"""The last message's text -> the reply."""


class Limited(Exception):
    """Raised by an `Answer`: a 429 with this message and, where it names one, this header."""

    status = 429

    def __init__(self, message: str, **header: str) -> None:
        super().__init__(message)
        self.header = {name.replace("_", "-"): value for name, value in header.items()}


class Down(Limited):
    """Raised by an `Answer`: a 503."""

    status = 503


class Asked(Counter[str]):
    """How often each model was asked, and each request's body in the order of arrival."""

    bodies: list[dict[str, Any]]


@contextmanager
def answering(models: Mapping[str, Answer], refused: Collection[str] = ()) -> Iterator[tuple[str, Asked]]:
    """Its address (…/v1), and what it was asked. `refused`: keys that get a 401."""
    asked = Asked()
    asked.bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send("application/json", json.dumps({"data": [{"id": name} for name in models]}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked[body["model"]] += 1
            asked.bodies.append(body)
            if self.headers.get("authorization", "").removeprefix("Bearer ") in refused:
                return self._send("application/json", json.dumps({"error": {"message": "no such key"}}), 401)
            try:
                text = models[body["model"]](body["messages"][-1]["content"])
            except Limited as limit:
                error = {"error": {"message": str(limit), "code": "rate_limit_exceeded"}}
                return self._send("application/json", json.dumps(error), limit.status, limit.header)
            usage = {"prompt_tokens": 5, "completion_tokens": len(text.split()), "total_tokens": 5 + len(text.split())}
            if not body.get("stream"):
                message = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                return self._send("application/json", json.dumps(_body(body, "chat.completion", [message], usage)))
            words = [word + " " for word in text.split()]
            events = [{"delta": {"content": word}, "finish_reason": None} for word in words]
            lines = [
                _body(body, "chat.completion.chunk", [event])
                for event in (*events, {"delta": {}, "finish_reason": "stop"})
            ]
            lines.append(_body(body, "chat.completion.chunk", [], usage))
            text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
            return self._send("text/event-stream", text)

        def _send(
            self, kind: str, text: str, status: int = 200, header: Mapping[str, str] = MappingProxyType({})
        ) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            for name, value in header.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _body(body: dict[str, Any], kind: str, choices: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
    numbered = [{"index": 0, **choice} for choice in choices]
    found = {"id": "up", "object": kind, "created": 1, "model": body["model"], "choices": numbered}
    return found if usage is None else {**found, "usage": usage}
