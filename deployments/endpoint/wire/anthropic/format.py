"""Anthropic's Messages API as a wire format."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deployments.endpoint.answer.format import Rendering
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.anthropic.answer import PING, Message, event
from deployments.endpoint.wire.anthropic.errors import STATUSES, error_body
from deployments.endpoint.wire.anthropic.request import MessagesRequest
from deployments.endpoint.wire.chat import session_of, shows_work
from deployments.endpoint.wire.problems import Problem

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SESSION, AGENT = "X-Claude-Code-Session-Id", "X-Claude-Code-Agent-Id"
"""Headers of Claude Code: an agent that a session has started holds a conversation of its own."""

LONG = "[1m]"
"""Ends the name of a model whose client may send a million tokens; the client's own matter."""


class Messages:
    path = "/v1/messages"
    id_prefix = "msg_"
    heartbeat = PING
    statuses: Mapping[int, int] = STATUSES

    @property
    def slow(self) -> bool:
        return "anthropic.types.beta" not in sys.modules

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        from deployments.endpoint.wire.anthropic.schema import MESSAGES

        return self._question(id, key, headers, body, within, MESSAGES)

    def _question(
        self,
        id: str,
        key: Key | None,
        headers: Mapping[str, str],
        body: bytes,
        within: Bounds,
        adapter: TypeAdapter[Any],
    ) -> Question:
        from deployments.endpoint.wire.anthropic.schema import ANTHROPICS

        request = MessagesRequest.parse(body, within, adapter)
        user, session = request.user()
        return Question(
            id=id,
            model=request.data["model"].removesuffix(LONG),
            messages=request.messages(ANTHROPICS),
            sampling=request.sampling(),
            fugu=request.fugu,
            workers=headers.get("X-Fugu-Workers"),
            key=key,
            stream=bool(request.data.get("stream")),
            include_usage=True,
            user=user,
            session=session_of(headers, _conversation(headers, session)),
            notes=tuple(request.notes),
            show_work=shows_work(headers, request.fugu),
            reasons=_shows_thinking(request.data.get("thinking") or {}),
        )

    def rendering(self, question: Question, id: str, created: int) -> Rendering:
        return Message(id, question.model, question.sampling.stop or ())

    def error(self, problem: Problem) -> dict[str, Any]:
        return error_body(problem)

    def failure(self, problem: Problem, rendering: Rendering) -> bytes:
        return event(error_body(problem))


def _shows_thinking(wish: Mapping[str, Any]) -> bool:
    return wish.get("type") in ("enabled", "adaptive") and wish.get("display") != "omitted"


def _conversation(headers: Mapping[str, str], session: str | None) -> str | None:
    named, agent = headers.get(SESSION) or session, headers.get(AGENT)
    return f"{named} {agent}" if named and agent else named
