"""A request to /v1/messages as the fields of a `Question`.

What changes nothing here (`service_tier`, `container`, `diagnostics`, unknown fields, …) is accepted; what belongs to
Anthropic's servers (`mcp_servers`, `context_management`) is left out with a note, so that it never ends a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.anthropic.history import History
from deployments.endpoint.wire.anthropic.tools import choice_of, tools_of
from deployments.endpoint.wire.extension import Extension
from deployments.endpoint.wire.refusal import validated
from models.errors import BadInput
from models.workers.ask import Sampling

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LOW, MEDIUM = 4096, 16_384
"""Budgets of thinking, in tokens, up to which the effort is low and medium: Claude Code's own three words for more
thinking ask for 4,000, 10,000 and 32,000."""

SERVERS = {
    "mcp_servers": "mcp_servers were left out: connect them in the client",
    "context_management": "context_management was left out: the conversation is passed on as it came",
    "fallbacks": "fallbacks were left out: who answers is decided here",
    "thread": "thread was left out: conversations are not kept here",
}


@dataclass(frozen=True)
class MessagesRequest:
    """A checked body. `notes`: what of it is left out or mapped."""

    data: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, body: bytes, within: Bounds, adapter: TypeAdapter[Any]) -> MessagesRequest:
        """`adapter`: of schema.py. Raises BadInput, with the field's name."""
        return cls(validated(body, within, adapter.validate_python))

    @property
    def fugu(self) -> Extension:
        return self.data.get("fugu") or Extension.model_construct()

    def messages(self, anthropics: frozenset[str]) -> list[dict[str, Any]]:
        """In the form in which workers get them. Raises BadInput, with the place."""
        found = History(self.notes, anthropics).messages(self.data.get("system"), self.data["messages"])
        if not found:
            raise BadInput("messages hold nothing to answer", "messages")
        if mark := self.data.get("cache_control"):
            _mark_last(found, mark)
        return found

    def sampling(self) -> Sampling:
        """Raises BadInput for tools that have to be called and are not there."""
        data = self.data
        given = {name: data[name] for name in ("max_tokens", "temperature", "top_p", "top_k") if name in data}
        if stops := data.get("stop_sequences"):
            given["stop"] = stops
        tools = tools_of(data.get("tools") or (), self.notes)
        if tools:
            given["tools"] = tools
        given |= choice_of(data.get("tool_choice"), tools, bool(data.get("tools")), self.notes)
        if effort := self._effort():
            given["reasoning_effort"] = effort
        if (form := (data.get("output_config") or {}).get("format") or data.get("output_format")) is not None:
            given["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": form["schema"], "strict": True},
            }
        for name, sentence in SERVERS.items():
            if data.get(name):
                self.notes.append(sentence)
        return Sampling.model_validate(given)

    def _effort(self) -> str | None:
        """`output_config.effort`, or what a budget of thinking comes to; nothing for adaptive thinking."""
        thinking = self.data.get("thinking") or {}
        if (effort := (self.data.get("output_config") or {}).get("effort")) is not None:
            return str(effort)
        if thinking.get("type") != "enabled":
            return None
        budget = thinking["budget_tokens"]
        effort = "low" if budget <= LOW else "medium" if budget <= MEDIUM else "high"
        self.notes.append(f"a budget of {budget} tokens for thinking was passed on as the effort {effort}")
        return effort

    def user(self) -> tuple[str | None, str | None]:
        """The caller's user, and its session where the name of the user has one, as in Claude Code's requests."""
        named = (self.data.get("metadata") or {}).get("user_id")
        if not named:
            return None, None
        if named.startswith("{"):
            try:
                told = json.loads(named)
            except ValueError:
                return named, None
            user = told.get("account_uuid") or told.get("device_id") or named
            return str(user), _text_or_none(told.get("session_id"))
        user, _, session = named.partition("_session_")
        return user, session or None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _mark_last(messages: list[dict[str, Any]], mark: Mapping[str, Any]) -> None:
    """The mark on the request is one on its last block."""
    content = messages[-1].get("content")
    if isinstance(content, str):
        content = messages[-1]["content"] = [{"type": "text", "text": content}]
    if content:
        content[-1] = {"cache_control": mark, **content[-1]}
