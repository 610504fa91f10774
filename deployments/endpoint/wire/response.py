"""Bodies of answers: completions, chunks, models. Shapes: OpenAI's chat-completions API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deployments.endpoint.answer.result import Result
from models.conductor.run.request import ConductAnswer
from models.workers.ask import Usage

FUGU, TRINITY, ULTRA = "fugu", "trinity", "fugu-ultra"

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": working\n\n"
"""An SSE comment, which keeps proxies and clients from giving up; clients ignore it."""


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: a worker's text may have lone surrogates, which UTF-8 cannot encode."""
    return json.dumps(body, separators=(",", ":")).encode()


def event(body: Mapping[str, Any]) -> bytes:
    """One SSE event."""
    return b"data: " + encode(body) + b"\n\n"


def usage_body(usage: Usage, orchestration: Usage | None = None) -> dict[str, Any]:
    """`orchestration`: usage of a conducted request beside its answering step; only `total_tokens` includes it."""
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


class Envelope:
    """The bodies of one answer: all have its `id`, `created` (Unix seconds) and the model's name."""

    def __init__(self, id: str, created: int, model: str) -> None:
        self.id, self.created, self.model = id, created, model

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": choices}

    def completion(self, answer: Result | ConductAnswer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            message["tool_calls"] = list(answer.tool_calls)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        return {**self._body("chat.completion", [choice]), "usage": usage_body(answer.usage, answer.orchestration)}

    def chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._body("chat.completion.chunk", [choice])

    def usage_chunk(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._body("chat.completion.chunk", []), "usage": usage}


def conducted_body(id: str, created: int, conducted: ConductAnswer) -> dict[str, Any]:
    """A conducted request's body in the ledger: made of the ledger's values alone, so that a replay gives its bytes."""
    return Envelope(id, created, ULTRA).completion(conducted)


def result_of(body: Mapping[str, Any]) -> Result:
    """The inverse of `conducted_body`."""
    choice, counted = body["choices"][0], body["usage"]
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
    message = choice["message"]
    calls = tuple(message.get("tool_calls", ()))
    return Result(message["content"], calls, choice["finish_reason"], usage, orchestration)


def model_body(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "fugu-flows"}
