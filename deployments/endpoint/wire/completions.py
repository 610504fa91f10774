"""OpenAI's completions, of before there were chats, as a wire format: the prompt is a user's message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any

from pydantic import Field, Tag, field_validator

from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Delta, Result, Text
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.chat import OpenAIForm, session_of, shows_work
from deployments.endpoint.wire.messages import TextOrList, whole
from deployments.endpoint.wire.request import MAX_CHOICES, Asked
from deployments.endpoint.wire.response import DONE, encode, event, usage_body
from models.errors import BadInput


class CompletionRequest(Asked):
    """`echo`: the text begins with the prompt. `best_of` changes nothing up to `n`, nor does an empty `suffix`."""

    prompt: Annotated[
        Annotated[str, Tag(":text")] | Annotated[list[str], Field(min_length=1, max_length=1), Tag(":list")], TextOrList
    ]
    echo: bool = False
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES)
    suffix: Annotated[str, Field(max_length=0)] | None = None
    logprobs: int | None = Field(None, ge=0, le=5)

    _whole_too = field_validator("best_of", "logprobs", mode="before")(whole)

    def check_fields_together(self) -> None:
        if (self.best_of or 1) > self.n:
            raise BadInput("best_of: nobody here picks the best of several; all of them come with n", "best_of")

    def shaping(self) -> dict[str, Any]:
        asked = None if self.logprobs is None else True  # a number here, and whether there are any in `Sampling`
        return super().shaping() | {"logprobs": asked, "top_logprobs": self.logprobs or None}

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


@dataclass(frozen=True)
class Completing(Question):
    """A prompt, and whether it is repeated before its completion."""

    echo: bool = False


class Completions(OpenAIForm):
    path = "/v1/completions"
    id_prefix = "cmpl-"

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Completing:
        asked = CompletionRequest.parse(body, within)
        return Completing(
            id=id,
            model=asked.model,
            messages=[{"role": "user", "content": asked.text}],
            sampling=asked.sampling(),
            fugu=asked.fugu,
            workers=headers.get("X-Fugu-Workers"),
            key=key,
            stream=asked.stream,
            include_usage=asked.stream_options.include_usage,
            user=asked.user,
            session=session_of(headers, None),
            notes=asked.notes,
            show_work=shows_work(headers, asked.fugu),
            choices=asked.n,
            echo=asked.echo,
        )

    def rendering(self, question: Question, id: str, created: int) -> TextCompletion:
        echoed = question.messages[0]["content"] if isinstance(question, Completing) and question.echo else ""
        return TextCompletion((id, created, question.model), question.include_usage, echoed, question.choices)


class TextCompletion:
    """One answer as a text completion, whole or in chunks. `head`: id, Unix seconds, model. `echoed`: comes first.

    Work that is shown beside an answer has no place in it.
    """

    def __init__(self, head: tuple[str, int, str], include_usage: bool, echoed: str, choices: int) -> None:
        self._head, self._include_usage, self._echoed, self._choices = head, include_usage, echoed, choices

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes:
        choices = [
            _choice(index, self._echoed + (said.text or ""), _finish(said), said.logprobs or ())
            for index, said in enumerate(result.choices)
        ]
        usage = usage_body(result.usage, result.orchestration)
        return encode({**self._body(choices), "usage": usage, **({} if trace is None else {"fugu": trace})})

    def opening(self) -> bytes:
        pieces = [_choice(index, self._echoed) for index in range(self._choices) if self._echoed]
        return b"".join(event(self._body([piece])) for piece in pieces)

    def delta(self, delta: Delta) -> bytes:
        if not isinstance(delta, Text):
            return b""
        return event(self._body([_choice(delta.choice, delta.text, None, delta.logprobs)]))

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> list[bytes]:
        chunks = [self._body([_choice(index, "", _finish(said))]) for index, said in enumerate(result.choices)]
        if self._include_usage:
            chunks.append({**self._body([]), "usage": usage_body(result.usage, result.orchestration)})
        chunks[-1] |= {} if trace is None else {"fugu": trace}
        return [*map(event, chunks), DONE]

    def _body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        id, created, model = self._head
        return {"id": id, "object": "text_completion", "created": created, "model": model, "choices": choices}


def _finish(said: Result) -> str:
    return "stop" if said.finish_reason == "tool_calls" else said.finish_reason


def _choice(
    index: int, text: str, finish: str | None = None, logprobs: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    told = _logprobs(logprobs) if logprobs else None
    return {"index": index, "text": text, "logprobs": told, "finish_reason": finish}


def _logprobs(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """In the form of completions: lists beside one another, and each token's place in the text."""
    tokens = [entry["token"] for entry in entries]
    return {
        "tokens": tokens,
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [{top["token"]: top["logprob"] for top in entry["top_logprobs"]} for entry in entries],
        "text_offset": [0, *accumulate(len(token) for token in tokens[:-1])],
    }
