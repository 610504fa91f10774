"""The bodies that go out: completions, chunks, the list of models. Shapes: OpenAI's chat-completions API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.conductor.run.request import ConductAnswer
from models.workers.ask import Usage

FUGU, TRINITY, ULTRA = "fugu", "trinity", "fugu-ultra"

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": working\n\n"
"""An SSE comment: it keeps proxies and clients from giving up, and every client ignores it."""


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: a worker's text may hold lone surrogates, which UTF-8 has no bytes for."""
    return json.dumps(body, separators=(",", ":")).encode()


def event(body: Mapping[str, Any]) -> bytes:
    """One SSE event."""
    return b"data: " + encode(body) + b"\n\n"


def usage_body(usage: Usage, orchestration: Usage | None = None) -> dict[str, Any]:
    """`orchestration`: what a conducted request used beside its answering step; only `total_tokens` includes it."""
    prompt = {"cached_tokens": usage.cached_tokens}
    completion = {"reasoning_tokens": usage.reasoning_tokens}
    if orchestration is not None:
        prompt["orchestration_input_tokens"] = orchestration.prompt_tokens
        prompt["orchestration_input_cached_tokens"] = orchestration.cached_tokens
        completion["orchestration_output_tokens"] = orchestration.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens + (orchestration.total_tokens if orchestration else 0),
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }


def usage_of(body: Mapping[str, Any]) -> tuple[Usage, Usage]:
    """The usage and the orchestration in a conducted request's body: the inverse of `usage_body`."""
    counted = body["usage"]
    prompt, completion = counted["prompt_tokens_details"], counted["completion_tokens_details"]
    usage = Usage(
        prompt_tokens=counted["prompt_tokens"],
        completion_tokens=counted["completion_tokens"],
        cached_tokens=prompt["cached_tokens"],
        reasoning_tokens=completion["reasoning_tokens"],
    )
    orchestration = Usage(
        prompt_tokens=prompt["orchestration_input_tokens"],
        completion_tokens=completion["orchestration_output_tokens"],
        cached_tokens=prompt["orchestration_input_cached_tokens"],
    )
    return usage, orchestration


class Envelope:
    """What all bodies of one answer share: `id`, `created` (Unix seconds) and the model's name."""

    def __init__(self, id: str, created: int, model: str) -> None:
        self.id, self.created, self.model = id, created, model

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": choices}

    def completion(
        self,
        text: str | None,
        tool_calls: Sequence[Mapping[str, Any]],
        finish_reason: str,
        usage: Usage,
        orchestration: Usage | None = None,
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if tool_calls:
            message["tool_calls"] = list(tool_calls)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return {**self._body("chat.completion", [choice]), "usage": usage_body(usage, orchestration)}

    def chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._body("chat.completion.chunk", [choice])

    def usage_chunk(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._body("chat.completion.chunk", []), "usage": usage}


def conducted_body(id: str, created: int, conducted: ConductAnswer) -> dict[str, Any]:
    """The final body of a conducted request: of the ledger's values alone, so that a replay makes the same bytes."""
    envelope = Envelope(id, created, ULTRA)
    usage, orchestration = conducted.usage, conducted.orchestration
    return envelope.completion(conducted.text, conducted.tool_calls, conducted.finish_reason, usage, orchestration)


def model_body(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "fugu-flows"}
