"""A provider on loopback whose answers are odd in the ways that people report: the model's name says how.

It counts by question (`#7#` in what it is asked) what reached it, and which of its answers left whole.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

Odd = Callable[[dict[str, Any]], object]
"""Changes a plain reply, or gives what is sent in its place."""


def usage(**values: object) -> Odd:
    return lambda reply: reply | {"usage": USAGE | values}


def says(content: object, finish: str = "stop", **fields: object) -> Odd:
    message = {"role": "assistant", "content": content, **fields}
    return lambda reply: reply | {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def calls(*indices: int | None) -> Odd:
    rows = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        | ({} if index is None else {"index": index})
        for n, index in enumerate(indices)
    ]
    return says(None, "tool_calls", tool_calls=rows)


ANSWERS: dict[str, Odd] = {
    "plain": lambda reply: reply,
    "usage-huge": usage(prompt_tokens=10**30, total_tokens=10**30 + 5),
    "usage-negative": usage(prompt_tokens=-10, completion_tokens=-5, total_tokens=-15),
    "usage-text": usage(completion_tokens="five"),
    "usage-null": usage(prompt_tokens=None, total_tokens=None),
    "usage-fraction": usage(prompt_tokens=10.5, completion_tokens=5.5),
    "usage-hidden": usage(total_tokens=2015),
    "usage-none": lambda reply: {name: value for name, value in reply.items() if name != "usage"},
    "text-nul": says("a\0b"),
    "text-half": says("x\ud83d y"),
    "text-parts": says([{"type": "text", "text": "The answer is 7."}]),
    "text-long": says("word " * 40_000),
    "calls-one-index": calls(0, 0),
    "calls-no-index": calls(None, None),
}
"""Whole answers, which are paid for."""

FAILURES: dict[str, Odd] = {
    "finish-error": says("half an ans", "error"),
    "finish-abort": says("half an ans", "abort"),
    "choices-null": lambda reply: reply | {"choices": None},
    "html": lambda reply: "<html><body>login please</body></html>",
}

ERRORS: dict[str, tuple[int, str, str]] = {
    "error-half": (400, "bad \ud83d value", ""),
    "error-nul": (400, "bad value \0 in a field", ""),
    "error-nul-500": (500, "it died \0", ""),
    "wait-epoch": (429, "slow down", "1795858000"),
    "wait-milliseconds": (429, "slow down", "1795858000000"),
    "wait-inf": (429, "slow down", "inf"),
    "wait-day": (429, "slow down", "86400"),
    "wait-date": (429, "slow down", "Fri, 31 Dec 9999 23:59:59 GMT"),
}
"""Status, message, Retry-After."""

KINDS = [name for name in (*ANSWERS, *FAILURES, *ERRORS) if name != "plain"]


def question_of(value: object) -> int:
    """The number of the question in what was asked."""
    found = re.search(r"#(\d+)#", json.dumps(value))
    assert found is not None
    return int(found[1])


class Provider:
    """`serve` is what `asyncio.start_server` wants. `seconds`: how long the call of a question takes."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self.arrived: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await self._answer(json.loads(await reader.readexactly(int(fields["content-length"]))), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client, or this server, is gone
        finally:
            writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        question, kind = question_of(body["messages"]), body["model"]
        self.arrived[question] += 1
        await asyncio.sleep(self._seconds(question))  # what an answer takes
        if kind in ERRORS:
            status, message, wait = ERRORS[kind]
            more = f"retry-after: {wait}\r\n" if wait else ""
            _send(writer, status, {"error": {"message": message, "type": "odd"}}, more)
            return await writer.drain()
        message = {"role": "assistant", "content": f"reply to #{question}#"}
        plain = {"id": "x", "object": "chat.completion", "created": 1, "model": kind, "usage": USAGE}
        plain["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        reply = (ANSWERS | FAILURES)[kind](plain)
        if body.get("stream") and isinstance(reply, dict):
            _stream(writer, reply)
        else:
            _send(writer, 200, reply)
        await writer.drain()
        self.answered[question] += kind in ANSWERS


def _send(writer: asyncio.StreamWriter, status: int, value: object, more: str = "") -> None:
    content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    kind = "text/html" if isinstance(value, str) else "application/json"
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n{more}\r\n"
    writer.write(head.encode() + content)


def _stream(writer: asyncio.StreamWriter, reply: dict[str, Any]) -> None:
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": reply["model"]}
    [choice] = reply["choices"] or [None]
    events: list[dict[str, Any]] = [base | {"choices": None}]
    if choice is not None:
        message, end = choice["message"], {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
        deltas = [{"role": "assistant", "tool_calls": [call]} for call in message.get("tool_calls", ())] or [message]
        events = [base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        events.append(base | {"choices": [end]})
    if "usage" in reply:
        events.append(base | {"choices": [], "usage": reply["usage"]})
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(f"{head}{len(lines):x}\r\n{lines}\r\n0\r\n\r\n".encode())
