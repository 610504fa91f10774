"""OpenAI's chat completions as a wire format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Delta, Result, Text
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.identity import digest_of
from deployments.endpoint.wire.problems import Problem
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import DONE, Envelope, encode, event, usage_body


class ChatCompletions:
    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        chat, workers = ChatRequest.parse(body, within), headers.get("X-Fugu-Workers")
        return Question(
            id=id,
            model=chat.model,
            messages=chat.messages,
            sampling=chat.sampling(),
            fugu=chat.fugu,
            workers=workers,
            key=key,
            digest=lambda: digest_of(body, workers),
            stream=chat.stream,
            include_usage=chat.stream_options.include_usage,
            trace=headers.get("X-Fugu-Trace") == "1",
            user=chat.user,
        )

    def rendering(self, question: Question, id: str, created: int) -> Completion:
        return Completion(Envelope(id, created, question.model), question.include_usage)

    def error(self, problem: Problem) -> dict[str, Any]:
        return problem.body()

    def failure(self, problem: Problem) -> bytes:
        return event(problem.body())


class Completion:
    """One answer; the object `fugu` is in its body, or in the last chunk of its stream."""

    def __init__(self, envelope: Envelope, include_usage: bool) -> None:
        self._envelope, self._include_usage = envelope, include_usage

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes:
        return encode(_traced(self._envelope.completion(result), trace))

    def opening(self) -> bytes:
        return event(self._envelope.chunk({"role": "assistant", "content": ""}))

    def delta(self, delta: Delta) -> bytes:
        said = {"content": delta.text} if isinstance(delta, Text) else {"tool_calls": list(delta.calls)}
        return event(self._envelope.chunk(said))

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> list[bytes]:
        chunks = [self._envelope.chunk({}, result.finish_reason)]
        if self._include_usage:
            chunks.append(self._envelope.usage_chunk(usage_body(result.usage, result.orchestration)))
        chunks[-1] = _traced(chunks[-1], trace)
        return [*map(event, chunks), DONE]


def _traced(body: dict[str, Any], trace: Mapping[str, Any] | None) -> dict[str, Any]:
    return body if trace is None else {**body, "fugu": trace}
