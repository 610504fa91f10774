"""A load generator in a process of its own: connections that ask one chat completion after another.

    python tests/benchmarks/load.py '{"url": …, "headers": {…}, "model": …, "connections": 32, "requests": 5000}'

With `"stream": true` the time to the first content is measured. No two requests have the same question: `begin` counts
them, and should differ between two runs against one server. The last line is JSON: `rps`, `p50_ms`, `p99_ms`,
`first_ms` (median), `failed`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 60.0


@dataclass
class Job:
    url: str
    model: str
    connections: int
    requests: int
    headers: dict[str, str] = field(default_factory=dict)
    stream: bool = False
    begin: int = 0


@dataclass
class Seen:
    """Seconds of each request that was answered, and until the first content of each that was streamed."""

    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    failed: int = 0


class Asker:
    """One connection."""

    def __init__(self, job: Job, numbers: Any, seen: Seen) -> None:
        self._job, self._numbers, self._seen = job, numbers, seen
        parts = urlsplit(job.url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        named = {"host": parts.netloc, "content-type": "application/json", **job.headers}
        self._head = f"POST {parts.path} HTTP/1.1\r\n" + "".join(f"{name}: {named[name]}\r\n" for name in named)

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        for number in self._numbers:
            started = time.perf_counter()
            writer.write(self._request(number))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    ok, closes = await self._answer(reader, started)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                ok, closes = False, True
            if ok:
                self._seen.seconds.append(time.perf_counter() - started)
            else:
                self._seen.failed += 1
            if closes:
                writer.close()
                reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.close()

    def _request(self, number: int) -> bytes:
        said = f"Question {number}: how many letters has the word number {number * 7919 % 1_000_003}?"
        body: dict[str, Any] = {"model": self._job.model, "messages": [{"role": "user", "content": said}]}
        if self._job.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        content = json.dumps(body).encode()
        return f"{self._head}content-length: {len(content)}\r\n\r\n".encode() + content

    async def _answer(self, reader: asyncio.StreamReader, started: float) -> tuple[bool, bool]:
        """Whether the answer is whole and right, and whether the connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        ok, closes = head.startswith(b"http/1.1 200"), b"connection: close" in head
        body = bytearray()
        if b"transfer-encoding: chunked" in head:
            first = True
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += await reader.readexactly(size + 2)
                if first and b'"content":"T' in body.replace(b" ", b""):
                    self._seen.first.append(time.perf_counter() - started)
                    first = False
            await reader.readline()
        else:
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            body += await reader.readexactly(int(fields.get(b"content-length", 0)))
        whole = b"[DONE]" in body and b" known" in body if self._job.stream else b"is not known." in body
        if not (ok and whole):
            print(head.decode(errors="replace")[:100], bytes(body[:300]), file=sys.stderr)
        return ok and whole, closes


async def main(job: Job) -> None:
    seen, numbers = Seen(), iter(range(job.begin, job.begin + job.requests))
    started = time.perf_counter()
    await asyncio.gather(*(Asker(job, numbers, seen).run() for _ in range(job.connections)))
    wall = time.perf_counter() - started
    millis = sorted(1e3 * each for each in seen.seconds) or [float("nan")]
    figures = {
        "rps": len(seen.seconds) / wall,
        "p50_ms": statistics.median(millis),
        "p99_ms": millis[int(0.99 * (len(millis) - 1))],
        "first_ms": 1e3 * statistics.median(seen.first) if seen.first else None,
        "failed": seen.failed,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main(Job(**json.loads(sys.argv[1]))))
