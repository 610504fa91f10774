"""The steps of `crash.py` as one would write them first: no ledger, so a process that is killed begins anew.

`python restarted.py URL QUESTION ...` carries out a tree of five steps for each question, all at once.
"""

from __future__ import annotations

import asyncio
import sys

import httpx

ACCESS = [[], [], [], [0, 1, 2], [3]]


async def tree(client: httpx.AsyncClient, question: str) -> str:
    """Each step once those that it sees are done; the last one answers."""
    replies: list[asyncio.Task[str]] = []

    async def step(index: int) -> str:
        seen = [await replies[other] for other in ACCESS[index]]
        said = [question, *seen, f"Step {index + 1}, your subtask: part {index}"]
        body = {"model": "w", "messages": [{"role": "user", "content": text} for text in said]}
        reply = await client.post("/v1/chat/completions", json=body)
        text: str = reply.json()["choices"][0]["message"]["content"]
        return text

    for index in range(len(ACCESS)):
        replies.append(asyncio.create_task(step(index)))
    return await replies[-1]


async def main(url: str, questions: list[str]) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:
        for answer in await asyncio.gather(*(tree(client, question) for question in questions)):
            print(answer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
