"""A provider on loopback that speaks OpenAI's chat protocol: every call takes as long as it is told, and is counted.

    python tests/benchmarks/upstream.py PORT SECONDS [COUNTER]

A call appends one line to COUNTER, on disk before the reply leaves: what its last message begins with.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Answer = str | tuple[int, bytes] | AsyncIterator[bytes] | None
"""The text of a completion; a status with its JSON; the bytes of a response, after which, as for `None`, the connection
is cut off."""

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def count(path: str | None, line: str) -> None:
    """Append a line; it is on disk when this returns."""
    if path is None:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def completion(body: dict[str, Any], text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
    return json.dumps({**reply, "id": "x", "object": "chat.completion", "created": 1, "model": body["model"]}).encode()


def serving(
    answer: Callable[[dict[str, Any]], Awaitable[Answer]],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What `asyncio.start_server` wants; connections stay open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                found = await answer(body)
                if found is None:
                    break
                if isinstance(found, AsyncIterator):
                    async for piece in found:
                        writer.write(piece)
                        await writer.drain()
                    break
                status, content = (200, completion(body, found)) if isinstance(found, str) else found
                start = (
                    f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
                )
                writer.write(start.encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, KeyError):
            pass  # the client, or this server, is gone; or it was no call
        finally:
            writer.close()

    return serve


async def start(seconds: float, port: int = 0, counter: str | None = None) -> asyncio.Server:
    """A server whose every call takes `seconds`, on a free port by default."""

    async def answer(body: dict[str, Any]) -> Answer:
        last = str(body["messages"][-1]["content"])
        count(counter, last.splitlines()[0][:80])
        await asyncio.sleep(seconds)  # what an answer takes
        return f"reply to {last[:40]}"

    return await asyncio.start_server(serving(answer), "127.0.0.1", port)


async def main() -> None:
    port, seconds, *counter = sys.argv[1:]
    server = await start(float(seconds), int(port), counter[0] if counter else None)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
