"""OpenAI's chat completions as a wire format; its bodies are written in response.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.endpoint.answer.format import Rendering
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.problems import Problem
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import HEARTBEAT, Completion, event

SESSIONS = ("X-Session-Id", "session_id", "X-Conversation-Id")
"""Headers by which clients name a conversation."""


def session_of(headers: Mapping[str, str], cache_key: str | None) -> str | None:
    """The client's own name for the conversation, or for the prompt that a provider may have cached."""
    return next((headers[name] for name in SESSIONS if headers.get(name)), cache_key)


def shows_work(headers: Mapping[str, str], fugu: Extension) -> bool:
    return fugu.show_work or headers.get("X-Fugu-Trace") == "1"


class OpenAIForm:
    """What OpenAI's forms have in common: heartbeats, and how an error is told."""

    heartbeat = HEARTBEAT
    statuses: Mapping[int, int] = {}
    slow = False

    def error(self, problem: Problem) -> dict[str, Any]:
        return problem.body()

    def failure(self, problem: Problem, rendering: Rendering) -> bytes:
        return event(problem.body())


class ChatCompletions(OpenAIForm):
    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        chat = ChatRequest.parse(body, within)
        return Question(
            id=id,
            model=chat.model,
            messages=chat.messages,
            sampling=chat.sampling(),
            fugu=chat.fugu,
            workers=headers.get("X-Fugu-Workers"),
            key=key,
            stream=chat.stream,
            include_usage=chat.stream_options.include_usage,
            user=chat.user,
            session=session_of(headers, chat.prompt_cache_key),
            notes=chat.notes,
            choices=chat.n,
            show_work=shows_work(headers, chat.fugu),
            reasons=True,  # as the worker itself would send it
        )

    def rendering(self, question: Question, id: str, created: int) -> Completion:
        return Completion(id, created, question.model, question.include_usage)
