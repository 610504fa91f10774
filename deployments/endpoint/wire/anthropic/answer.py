"""Answers as Anthropic's messages: whole, or as its events.

The blocks of a message come one after the other, each with a beginning, pieces and an end. Workers' tool calls may come
in turns, so a piece of a later block waits until the block before it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.endpoint.answer.result import Delta, Result, Text, Thought
from deployments.endpoint.wire.response import encode
from models.workers.ask import Usage

STOPPED = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
"""Where a worker does not say that it stopped at one of `stop_sequences`, that is an `end_turn`, too."""

SIGNATURE = "fugu"
"""Anthropic's models sign their thoughts, to know them again. What is shown here is no model's memory and is not read
again, but clients want some signature."""

INVALID = "INVALID_JSON"
"""The field that holds arguments which are no JSON object, as Anthropic's documentation advises."""


def event(body: Mapping[str, Any]) -> bytes:
    return b"event: " + str(body["type"]).encode() + b"\ndata: " + encode(body) + b"\n\n"


PING = event({"type": "ping"})


def usage_body(usage: Usage, orchestration: Usage | None = None) -> dict[str, Any]:
    """`input_tokens` are those that no cache had. `orchestration`: what a conducted one used beside its last step."""
    written = min(usage.cache_creation_tokens, usage.prompt_tokens - usage.cached_tokens)
    body = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
    if orchestration is not None:
        body["orchestration_input_tokens"] = orchestration.prompt_tokens
        body["orchestration_input_cached_tokens"] = orchestration.cached_tokens
        body["orchestration_output_tokens"] = orchestration.completion_tokens
    return body


class Message:
    """One answer. The object `fugu` is in the body, or in the event `message_delta`."""

    def __init__(self, id: str, model: str, stops: Collection[str] = ()) -> None:
        self._id, self._model, self._stops, self._blocks = id, model, stops, _Blocks()

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes:
        thoughts = [_thinking(result.thoughts, SIGNATURE)] if result.thoughts else []
        texts = [{"type": "text", "text": result.text}] if result.text else []
        content = [*thoughts, *texts, *map(_tool_use, result.tool_calls)]
        body = self._body(content, usage_body(result.usage, result.orchestration)) | self._end(result)
        return encode(body | _disclosed(trace))

    def opening(self) -> bytes:
        """The usage is not known yet: it comes with `message_delta`."""
        return event({"type": "message_start", "message": self._body([], usage_body(Usage()))})

    def delta(self, delta: Delta) -> bytes:
        match delta:
            case Text():
                events = self._blocks.say({"type": "text", "text": ""}, delta.text)
            case Thought():
                events = self._blocks.say(_thinking("", ""), delta.text)
            case _:
                events = (event for call in delta.calls for event in self._blocks.call(call))
        return b"".join(map(event, events))

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> list[bytes]:
        usage = usage_body(result.usage, result.orchestration)
        last = {"type": "message_delta", "delta": self._end(result), "usage": usage, **_disclosed(trace)}
        return [event(body) for body in (*self._blocks.end(), last, {"type": "message_stop"})]

    def _end(self, result: Result) -> dict[str, Any]:
        if result.finish_reason == "stop" and result.stopped_at in self._stops:
            return {"stop_reason": "stop_sequence", "stop_sequence": result.stopped_at}
        return {"stop_reason": STOPPED[result.finish_reason], "stop_sequence": None}

    def _body(self, content: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        head = {"id": self._id, "type": "message", "role": "assistant", "model": self._model}
        return {**head, "content": content, "stop_reason": None, "stop_sequence": None, "usage": usage}


@dataclass
class _Block:
    """`place`: of a tool call, as the worker numbers them. `waiting`: pieces that were not sent yet."""

    start: dict[str, Any]
    place: int | None = None
    waiting: list[str] = field(default_factory=list)
    arguments: str = ""
    begun: bool = False

    @property
    def kind(self) -> str:
        return str(self.start["type"])

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return self.kind != "tool_use" or _object_or_none(self.arguments) is not None


class _Blocks:
    """The blocks of a streamed message. Only the first of those that are left has begun."""

    def __init__(self) -> None:
        self._index = 0
        self._left: list[_Block] = []
        self._placed: set[int] = set()

    def say(self, start: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
        if not text:
            return
        if not self._left or self._left[-1].kind != start["type"]:
            self._left.append(_Block(start))
        self._left[-1].waiting.append(text)
        yield from self._sent()

    def call(self, piece: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """`piece`: of a tool call, in OpenAI's shape, with `index`; the first one has its id and name."""
        place, function = piece["index"], piece["function"]
        if place not in self._placed:
            start = {"type": "tool_use", "id": piece["id"], "name": function["name"], "input": {}}
            self._left.append(_Block(start, place))
            self._placed.add(place)
        for block in self._left:
            if block.place == place and function.get("arguments"):
                block.waiting.append(function["arguments"])
                block.arguments += function["arguments"]
        yield from self._sent()

    def end(self) -> Iterator[dict[str, Any]]:
        while self._left:
            yield from self._sent()
            yield from self._stopped()

    def _sent(self) -> Iterator[dict[str, Any]]:
        while True:
            block = self._left[0]
            if not block.begun:
                yield {"type": "content_block_start", "index": self._index, "content_block": block.start}
                block.begun = True
            for text in block.waiting:
                yield self._delta(_PIECES[block.kind], text)
            block.waiting.clear()
            if len(self._left) == 1 or not block.complete:
                return
            yield from self._stopped()

    def _stopped(self) -> Iterator[dict[str, Any]]:
        if self._left.pop(0).kind == "thinking":
            yield self._delta(("signature_delta", "signature"), SIGNATURE)
        yield {"type": "content_block_stop", "index": self._index}
        self._index += 1

    def _delta(self, names: tuple[str, str], text: str) -> dict[str, Any]:
        kind, name = names
        return {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, name: text}}


_PIECES = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""Kinds of blocks -> the type of their pieces, and its field."""


def _thinking(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    given = _object_or_none(function["arguments"])
    input = {INVALID: function["arguments"]} if given is None else given
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": input}


def _object_or_none(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _disclosed(trace: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if trace is None else {"fugu": trace}
