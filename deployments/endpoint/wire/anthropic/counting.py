"""`POST /v1/messages/count_tokens`: an estimate of the tokens of a prompt. No worker is asked, and nothing is paid.

Who will answer is not known yet, so the texts are counted by OpenAI's tokenizer o200k, which litellm brings along;
other models' counts differ by some 10 to 30 %. Counted are the texts of the messages, the tools and the calls of tools
as workers get them, and a few tokens around each message; an image counts as 1,600, the most that Anthropic counts for
one, and a document as 3,000, two or three pages.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deployments.endpoint.answer.format import Rendering
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Delta, Emit, Report, Result
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.anthropic.format import Messages
from deployments.endpoint.wire.response import encode
from models.ledger.requests import Row
from models.workers.ask import TOKEN_BYTES, Message, Usage, json_bytes, text_of
from models.workers.translation import load_litellm

OTHER_TOKENS = {"image_url": 1600, "file": 3000}
"""Parts without text -> what they count as."""

AROUND = 4
"""Tokens that delimit a message."""

COUNTED_CHARS = 1 << 20
"""Beyond these characters TOKEN_BYTES bytes are a token: the tokenizer takes a third of a second so far."""

TOKENIZER = "gpt-4o"
"""A model of that tokenizer."""


def estimated_tokens(messages: Iterable[Message], tools: Iterable[Mapping[str, Any]] = ()) -> int:
    """About the tokens of a prompt. Takes a second where litellm is not imported yet."""
    texts, others = [json.dumps(tool, ensure_ascii=False) for tool in tools], 0
    for message in messages:
        content = message.get("content")
        texts += [text_of(content), *(json.dumps(call["function"]) for call in message.get("tool_calls") or ())]
        parts = content if isinstance(content, list) else ()
        others += AROUND + sum(OTHER_TOKENS.get(part["type"], 0) for part in parts)
    text = "\n".join(texts)
    counted, rest = text[:COUNTED_CHARS], text[COUNTED_CHARS:]
    found = int(load_litellm().token_counter(model=TOKENIZER, text=counted)) if counted else 0
    return found + others + (json_bytes(rest) // TOKEN_BYTES if rest else 0)


class CountTokens(Messages):
    path = "/v1/messages/count_tokens"
    id_prefix = "msgcount_"

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        from deployments.endpoint.wire.anthropic.schema import COUNTED

        return self._question(id, key, headers, body, within, COUNTED)

    def rendering(self, question: Question, id: str, created: int) -> Rendering:
        return Count()


class Count:
    """The rendering of a count, which is never streamed."""

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes:
        return encode({"input_tokens": result.usage.prompt_tokens})

    def opening(self) -> bytes:
        return b""

    def delta(self, delta: Delta) -> bytes:
        return b""

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> list[bytes]:
        return []


class Counting:
    """A question whose answer is the size of its prompt."""

    slow = False

    def __init__(self, question: Question, digest: Callable[[], str]) -> None:
        """Raises BadInput for a list of workers without a name, as everywhere."""
        question.wanted()
        self.id, self.created, self._question = question.id, int(time.time()), question

    async def answer(self, emit: Emit | None) -> Result:
        question = self._question
        found = await asyncio.to_thread(estimated_tokens, question.messages, question.sampling.tools or ())
        return Result(None, (), "stop", Usage(prompt_tokens=found))

    def report(self) -> Report:
        return Report({}, {})

    def keep(self, row: Row) -> None:
        """Nothing was asked, so there is no row."""
