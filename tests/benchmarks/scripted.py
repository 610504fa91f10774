"""A provider on loopback whose conductor and workers answer by a script, faults included, and which counts every call.

    python tests/benchmarks/scripted.py PORT COUNTER

A question is "question N: KIND". The model `planner` writes its kind's workflow; `w1`, `w2` and `w3` answer a step.
A call appends its model and the digest of its messages to COUNTER, on disk before anything of the reply leaves.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any

from upstream import Answer, count, serving

from models.digest import json_digest

KINDS = ("diamond", "chain", "again", "nested", "away", "refused", "dropped", "unreadable")
"""A diamond; a chain; a second round; a step of the conductor's own; `w1` is away at its first try of each call, or
refuses, or is cut off after it has worked; a plan that nobody can read."""

ITSELF = 4

ANSWERED = "ANSWERED"
"""What answers begin with, so that a planner knows that it is shown one."""


def call_of(model: str, messages: Any) -> str:
    """A call as the counter names it."""
    return f"{model} {json_digest(messages)}"


def plan(kind: str, prompt: str) -> str:
    """What the planner writes."""
    if ANSWERED in prompt and (kind != "again" or "once more" in prompt):
        return columns([], [], [])
    if kind == "unreadable":
        return "I would rather not say."
    if kind == "diamond":
        return columns([1, 2, 3, 1], ["look", "left", "right", "join"], [[], [0], [0], [1, 2]])
    if kind == "nested" and "deeper" in prompt:
        return columns([2], ["in the deep"], [[]])
    if kind == "nested":
        return columns([ITSELF, 3], ["go deeper", "finish"], [[], [0]])
    if ANSWERED in prompt:
        return columns([3], ["once more"], [[]])
    return columns([1, 2, 1, 3], ["one", "two", "three", "four"], [[], [0], [1], ["all"]])


def columns(models: list[int], subtasks: list[str], access: list[Any]) -> str:
    return f"model_id = {json.dumps(models)}\nsubtasks = {json.dumps(subtasks)}\naccess_list = {json.dumps(access)}"


class Script:
    """`tried`: the calls that have been there before."""

    def __init__(self, counter: str) -> None:
        self.counter, self.tried = counter, set[str]()

    async def answer(self, body: dict[str, Any]) -> Answer:
        await asyncio.sleep(0.02)  # so that calls overlap
        model, messages = str(body["model"]), body["messages"]
        prompt = "\n".join(str(message["content"]) for message in messages)
        call, kind = call_of(model, messages), re.findall(r"question \d+: (\w+)", prompt)[-1]
        again = call in self.tried
        self.tried.add(call)
        if model == "w1" and kind == "refused":
            return 404, b'{"error": {"message": "no such model", "type": "invalid_request_error"}}'
        if model == "w1" and kind == "away" and not again:
            return 503, b'{"error": {"message": "away"}}'
        count(self.counter, call)
        if model == "w1" and kind == "dropped" and not again:
            return None
        return plan(kind, prompt) if model == "planner" else f"{ANSWERED} by {model}: {json_digest(messages)[:12]}"


async def main() -> None:
    port, counter = sys.argv[1:]
    server = await asyncio.start_server(serving(Script(counter).answer), "127.0.0.1", int(port))
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
