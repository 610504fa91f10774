"""A provider on loopback that speaks OpenAI's chat protocol and takes no time.

    python tests/benchmarks/swift.py

Its first line is its address. A stream's pieces leave one by one, without a pause.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

WORDS = ("The", " answer", " to", " this", " question", " is", " not", " known", ".")
USAGE = {"prompt_tokens": 12, "completion_tokens": len(WORDS), "total_tokens": 12 + len(WORDS)}
_HEAD = {"id": "chatcmpl-1", "created": 1, "model": "swift"}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = _json(_HEAD | {"object": "chat.completion", "choices": [choice], "usage": USAGE})
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _pieces() -> list[bytes]:
    """The events of a stream, each as a chunk of the body."""
    choices = [[{"index": 0, "delta": {"content": word}, "finish_reason": None}] for word in WORDS]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    events = [_json(_HEAD | {"object": "chat.completion.chunk", "choices": each}) for each in choices]
    events.append(_json(_HEAD | {"object": "chat.completion.chunk", "choices": [], "usage": USAGE}))
    lines = [b"data: %b\n\n" % each for each in (*events, b"[DONE]")]
    return [b"%x\r\n%b\r\n" % (len(line), line) for line in lines]


WHOLE, PIECES = _whole(), _pieces()
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Provider(asyncio.Protocol):
    """One connection; requests come one after another and have a Content-Length or a chunked body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, begin = self._buffer[:end].lower(), end + 4
            size = _length(head, self._buffer[begin:])
            if size is None or len(self._buffer) < begin + size:
                return
            body, self._buffer = self._buffer[begin : begin + size], self._buffer[begin + size :]
            self._answer(b'"stream":true' in body.replace(b" ", b""))

    def _answer(self, streamed: bool) -> None:
        if not streamed:
            self._transport.write(WHOLE)
            return
        self._transport.write(STREAM)
        for piece in PIECES:
            self._transport.write(piece)
        self._transport.write(b"0\r\n\r\n")


def _length(head: bytes, rest: bytes) -> int | None:
    """Bytes of the body as it is sent; `None` where its end has not come yet."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
        if name == b"transfer-encoding":
            end = rest.find(b"0\r\n\r\n")
            return None if end < 0 else end + 5
    return 0


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
