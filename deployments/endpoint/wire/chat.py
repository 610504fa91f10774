"""OpenAI's chat completions as a wire format; its bodies are written in response.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.endpoint.answer.aliases import Aliases, meant_by
from deployments.endpoint.answer.format import Rendering
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.problems import Problem
from deployments.endpoint.wire.request import ChatRequest
from deployments.endpoint.wire.response import HEARTBEAT, MODELS, TRINITY, Completion, event
from deployments.endpoint.wire.tools import ChatTools

SESSIONS = ("X-Session-Id", "session_id", "X-Conversation-Id")
"""Headers by which clients name a conversation."""


def session_of(headers: Mapping[str, str], cache_key: str | None) -> str | None:
    """The client's own name for the conversation, or for the prompt that a provider may have cached."""
    return next((headers[name] for name in SESSIONS if headers.get(name)), cache_key)


def shows_work(headers: Mapping[str, str], fugu: Extension) -> bool:
    return fugu.show_work or headers.get("X-Fugu-Trace") == "1"


Taken = Callable[[str], Collection[str]]
"""The name that a model is asked for by -> the kinds of providers' tools that are passed on to its workers."""


def taken_by(kinds: Collection[str], aliases: Aliases = ()) -> Taken:
    """`kinds`: those that some worker takes. None are passed on to `trinity`'s."""

    def taken(model: str) -> Collection[str]:
        return () if meant_by(model, aliases, MODELS).partition("@")[0] == TRINITY else kinds

    return taken


class OpenAIForm:
    """What OpenAI's forms have in common: heartbeats, and how an error is told."""

    heartbeat = HEARTBEAT
    statuses: Mapping[int, int] = {}
    slow = False

    def error(self, problem: Problem) -> dict[str, Any]:
        return problem.body()

    def failure(self, problem: Problem, rendering: Rendering) -> bytes:
        return event(problem.body())


@dataclass(frozen=True, kw_only=True)
class ChatQuestion(Question):
    """`freeform`: the names of the functions that stand for its custom tools."""

    freeform: Collection[str] = ()


class ChatCompletions(OpenAIForm):
    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"

    def __init__(self, taken: Taken = taken_by(())) -> None:  # noqa: B008 - a function that keeps nothing
        self._taken = taken

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        chat = ChatRequest.parse(body, within)
        sampling, tools = chat.sampling(), None
        if any(tool["type"] != "function" for tool in chat.tools or ()) or isinstance(chat.tool_choice, dict):
            tools = ChatTools(chat.tools or (), self._taken(chat.model))
            sampling = sampling.model_copy(update=tools.fields(chat.tool_choice))
        return ChatQuestion(
            id=id,
            model=chat.model,
            messages=chat.messages,
            sampling=sampling,
            fugu=chat.fugu,
            workers=headers.get("X-Fugu-Workers"),
            key=key,
            stream=chat.stream,
            include_usage=chat.stream_options.include_usage,
            user=chat.user,
            session=session_of(headers, chat.prompt_cache_key),
            notes=chat.notes if tools is None else (*chat.notes, *tools.notes),
            choices=chat.n,
            show_work=shows_work(headers, chat.fugu),
            reasons=True,  # as the worker itself would send it
            freeform=() if tools is None else tools.freeform,
        )

    def rendering(self, question: Question, id: str, created: int) -> Completion:
        freeform = question.freeform if isinstance(question, ChatQuestion) else ()
        return Completion(id, created, question.model, question.include_usage, freeform)
