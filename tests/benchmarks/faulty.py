"""A provider on loopback whose workers fail as providers do, and which counts every call that reaches it.

    python tests/benchmarks/faulty.py PORT COUNTER SHARE [REQUESTS_PER_MINUTE]

Model `steady` always answers; of the calls to others, SHARE meet a fault, drawn from the text of the call. With a
limit, calls beyond it in any minute are answered 429. A call appends its model to COUNTER before it is answered.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upstream import USAGE, Answer, count, serving

from deployments.server import free_port

WORDS = ("the ", "answer ", "is ", "seven")
HANG_S = 30.0
LONG = "word " * 600_000
"""3 MB."""

FAULTS = (
    "429", "429 wait", "500", "reset", "stall", "cut", "malformed", "long", "usage wrong", "usage missing"
)  # fmt: skip


def fault_of(body: dict[str, Any], share: float, seen: int) -> str | None:
    """What the call meets. `seen`: how often the same call was there before: a repeat draws anew."""
    draw = random.Random(f"{body['model']} {json.dumps(body['messages'])} {seen}")
    return draw.choice(FAULTS) if body["model"] != "steady" and draw.random() < share else None


@contextmanager
def provider(folder: Path, share: float, *limit: float) -> Iterator[str]:
    """The address of this provider in a process of its own, which counts in the file `counted` of the folder."""
    port = free_port("127.0.0.1", 0, "port")
    command = [sys.executable, __file__, str(port), str(folder / "counted"), str(share), *map(str, limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            running.terminate()


class Faulty:
    """Answers on connections that are closed after one answer."""

    def __init__(self, counter: str, share: float, per_minute: float = float("inf")) -> None:
        self._counter, self._share, self._per_minute = counter, share, per_minute
        self._seen: dict[str, int] = {}
        self._times = deque[float]()

    async def answer(self, body: dict[str, Any]) -> Answer:
        count(self._counter, body["model"])
        what = json.dumps([body["model"], body["messages"]])
        seen = self._seen[what] = self._seen.get(what, -1) + 1
        fault = "429 wait" if self._is_too_much() else fault_of(body, self._share, seen)
        return None if fault == "reset" else self._answer(body, fault)

    def _is_too_much(self) -> bool:
        now = asyncio.get_running_loop().time()
        while self._times and self._times[0] <= now - 60.0:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) > self._per_minute

    async def _answer(self, body: dict[str, Any], fault: str | None) -> AsyncIterator[bytes]:
        if fault in ("429", "429 wait", "500"):
            wait = "retry-after: 1\r\n" if fault == "429 wait" else ""
            yield _whole({"error": {"message": f"a fault: {fault}"}}, fault[:3], wait)
            return
        usage = {"usage wrong": {"prompt_tokens": -3, "completion_tokens": 10**9}, "usage missing": None}.get(
            str(fault), USAGE
        )
        words = (LONG,) if fault == "long" else WORDS
        parts = self._streamed(words, usage, fault) if body.get("stream") else self._said(words, usage, fault)
        async for part in parts:
            yield part

    async def _said(self, words: tuple[str, ...], usage: Any, fault: str | None) -> AsyncIterator[bytes]:
        if fault == "stall":
            await asyncio.sleep(HANG_S)  # longer than anybody waits
        message = {"role": "assistant", "content": "".join(words)}
        whole = _whole({**_frame(usage), "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        if fault == "malformed":
            whole = whole.replace(b'{"id"', b'<html>"', 1)
        yield whole[: len(whole) // 2] if fault == "cut" else whole

    async def _streamed(self, words: tuple[str, ...], usage: Any, fault: str | None) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        for number, word in enumerate(words):
            yield _event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            if number == 1 and fault == "cut":
                return
            if number == 1 and fault == "stall":
                await asyncio.sleep(HANG_S)
            if number == 1 and fault == "malformed":
                yield b"data: {not json\n\n"
        yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage is not None:
            yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def _frame(usage: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m"} | ({"usage": usage} if usage else {})


def _event(fields: dict[str, Any]) -> bytes:
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(frame | fields)}\n\n".encode()


def _whole(value: Any, status: str = "200", header: str = "") -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{header}"
    return f"{head}connection: close\r\n\r\n".encode() + body


async def main() -> None:
    port, counter, share, *limit = sys.argv[1:]
    faulty = Faulty(counter, float(share), *map(float, limit))
    server = await asyncio.start_server(serving(faulty.answer), "127.0.0.1", int(port), backlog=1024)
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
