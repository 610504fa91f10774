"""Bodies of answers: completions, chunks, models. Shapes: OpenAI's chat-completions API."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deployments.endpoint.answer.result import Delta, Result, Text, Thought
from deployments.endpoint.wire.responses.tools import as_given
from models.conductor.run.request import ConductAnswer
from models.workers.ask import Usage

MODELS = FUGU, TRINITY, ULTRA = "fugu", "trinity", "fugu-ultra"

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
    if usage.cache_creation_tokens:
        prompt["cache_creation_tokens"] = usage.cache_creation_tokens
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


class Completion:
    """One answer as a chat completion, whole or in chunks. `created`: Unix seconds. `include_usage`: at a stream's end.

    The object `fugu` is in the body, or in the last chunk. `freeform`: the names of the functions that stand for custom
    tools; their calls are sent as those of the tools, in a stream at its end, since their text is only known then.
    """

    def __init__(
        self, id: str, created: int, model: str, include_usage: bool = False, freeform: Collection[str] = ()
    ) -> None:
        self._head, self._include_usage, self._freeform = (id, created, model), include_usage, freeform
        self._held: set[tuple[int, int]] = set()  # choices and indices of such calls

    def body(self, answer: Result | ConductAnswer) -> dict[str, Any]:
        said: Sequence[Result | ConductAnswer] = answer.choices if isinstance(answer, Result) else [answer]
        choices = [_choice(index, each, self._freeform) for index, each in enumerate(said)]
        usage = usage_body(answer.usage, answer.orchestration)
        return {**self._body("chat.completion", choices), "usage": usage}

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes:
        body = self.body(result)
        if result.thoughts:
            body["choices"][0]["message"]["reasoning_content"] = result.thoughts
        return encode(body | _disclosed(trace))

    def opening(self) -> bytes:
        return event(self._chunk({"role": "assistant", "content": ""}))

    def delta(self, delta: Delta) -> bytes:
        match delta:
            case Text():
                logprobs = {"content": list(delta.logprobs), "refusal": None} if delta.logprobs else None
                return event(self._chunk({"content": delta.text}, None, delta.choice, logprobs))
            case Thought():
                return event(self._chunk({"reasoning_content": delta.text}))
        calls = [call for call in delta.calls if not self._holds(call, delta.choice)]
        return event(self._chunk({"tool_calls": calls}, None, delta.choice)) if calls else b""

    def _holds(self, call: Mapping[str, Any], choice: int) -> bool:
        place = choice, int(call.get("index") or 0)
        if call["function"].get("name") in self._freeform:
            self._held.add(place)
        return place in self._held

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> list[bytes]:
        chunks = []
        for choice, said in enumerate(result.choices):
            given = enumerate(said.tool_calls)
            held = [{"index": i, **as_given(c, self._freeform)} for i, c in given if (choice, i) in self._held]
            chunks += [self._chunk({"tool_calls": held}, None, choice)] if held else []
            chunks.append(self._chunk({}, said.finish_reason, choice))
        if self._include_usage:
            usage = usage_body(result.usage, result.orchestration)
            chunks.append({**self._body("chat.completion.chunk", []), "usage": usage})
        chunks[-1] |= _disclosed(trace)
        return [*map(event, chunks), DONE]

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        id, created, model = self._head
        return {"id": id, "object": kind, "created": created, "model": model, "choices": choices}

    def _chunk(
        self, delta: Mapping[str, Any], finish_reason: str | None = None, index: int = 0, logprobs: Any = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._body("chat.completion.chunk", [choice])


def _choice(index: int, answer: Result | ConductAnswer, freeform: Collection[str]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [as_given(call, freeform) for call in answer.tool_calls]
    entries = answer.logprobs if isinstance(answer, Result) else None
    logprobs = {"content": list(entries), "refusal": None} if entries else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _disclosed(trace: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if trace is None else {"fugu": trace}


def conducted_body(id: str, created: int, conducted: ConductAnswer) -> dict[str, Any]:
    """A conducted request's body in the ledger: made of the ledger's values alone, so that a replay gives its bytes."""
    return Completion(id, created, ULTRA).body(conducted)


def result_of(body: Mapping[str, Any]) -> Result:
    """The inverse of `conducted_body`."""
    choice, counted = body["choices"][0], body["usage"]
    prompt, completion = counted["prompt_tokens_details"], counted["completion_tokens_details"]
    usage = Usage(
        prompt_tokens=counted["prompt_tokens"],
        completion_tokens=counted["completion_tokens"],
        cached_tokens=prompt["cached_tokens"],
        cache_creation_tokens=prompt.get("cache_creation_tokens", 0),
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


def model_body(name: str, created: int, pin: str | None = None) -> dict[str, Any]:
    """`pin`: the name of the version that serves under this name."""
    told = {"id": name, "object": "model", "created": created, "owned_by": "fugu-flows"}
    return told if pin is None else {**told, "pin": pin}
