"""OpenAI's Responses API as a wire format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from deployments.endpoint.answer.format import Rendering
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Delta, Result
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.chat import OpenAIForm
from deployments.endpoint.wire.problems import Problem
from deployments.endpoint.wire.response import encode
from deployments.endpoint.wire.responses.question import Reader, ResponsesQuestion


class Written:
    """Hands out what has been written for a question's client by who answers it (`kept.py`, `background.py`)."""

    def __init__(self, question: ResponsesQuestion) -> None:
        self._question, self._draft, self._outbox = question, question.draft, question.outbox

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes:
        return encode(self._draft.body() | _disclosed(trace))

    def opening(self) -> bytes:
        return self._outbox.popleft()

    def delta(self, delta: Delta) -> bytes:
        return self._outbox.popleft()

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> Iterable[bytes]:
        yield from self._outbox
        if not self._question.background:  # there the last event is one of those
            yield self._draft.last(_disclosed(trace))

    def failure(self, problem: Problem) -> bytes:
        self._draft.fail(problem)
        return b"".join([*self._outbox, self._draft.last()])


def _disclosed(trace: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if trace is None else {"fugu": trace}


class Responses(OpenAIForm):
    path = "/v1/responses"
    id_prefix = "resp_"
    slow = True
    """A question may continue an answer, which is read from the ledger."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def error(self, problem: Problem) -> dict[str, Any]:
        # Other forms have a field of this name; here they are one of the things to include.
        return super().error(replace(problem, param="include") if problem.param == "logprobs" else problem)

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        return self._reader.question(id, key, headers, body, within)

    def rendering(self, question: Question, id: str, created: int) -> Written:
        assert isinstance(question, ResponsesQuestion)
        if not question.draft.begun and not question.outbox:
            question.outbox.append(question.draft.begin(id, created))
        return Written(question)

    def failure(self, problem: Problem, rendering: Rendering) -> bytes:
        assert isinstance(rendering, Written)
        return rendering.failure(problem)
