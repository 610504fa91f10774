"""The bodies that go out: completions, chunks, the list of models. Shapes: OpenAI's chat-completions API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.workers.ask import Usage

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": working\n\n"
"""An SSE comment: it keeps proxies and clients from giving up, and every client ignores it."""


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: a worker's text may hold lone surrogates, which UTF-8 has no bytes for."""
    return json.dumps(body, separators=(",", ":")).encode()


def event(body: Mapping[str, Any]) -> bytes:
    """One SSE event."""
    return b"data: " + encode(body) + b"\n\n"


def total(usages: Sequence[Usage]) -> Usage:
    """The tokens of all asks together."""
    return Usage(**{name: sum(getattr(usage, name) for usage in usages) for name in Usage.model_fields})


def usage_body(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class Envelope:
    """What all bodies of one answer share: `id`, `created` (Unix seconds) and the model's name."""

    def __init__(self, id: str, created: int, model: str) -> None:
        self.id, self.created, self.model = id, created, model

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": choices}

    def completion(
        self, text: str | None, tool_calls: Sequence[Mapping[str, Any]], finish_reason: str, usage: Usage
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if tool_calls:
            message["tool_calls"] = list(tool_calls)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return {**self._body("chat.completion", [choice]), "usage": usage_body(usage)}

    def chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._body("chat.completion.chunk", [choice])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        return {**self._body("chat.completion.chunk", []), "usage": usage_body(usage)}


def model_body(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "fugu-flows"}
