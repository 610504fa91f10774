"""The output of a response, built from the deltas of an answer, with the events that tell a client of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.endpoint.answer.result import Calls, Delta, Result, Text, Thought
from deployments.endpoint.wire.responses.tools import Tools
from deployments.endpoint.wire.responses.written import (
    CustomCall,
    Event,
    FunctionCall,
    Item,
    Logprobs,
    Message,
    Reasoning,
    Writing,
)

RESPONSE = "resp_"

_PREFIXES = frozenset(kind.prefix for kind in (Message, Reasoning, FunctionCall, CustomCall))


def response_of(item_id: str) -> tuple[str, int] | None:
    """The response that an item belongs to, and its index there, which its id holds; `None` for an id not of ours."""
    prefix, _, rest = item_id.partition("_")
    unique, _, index = rest.rpartition("_")
    if f"{prefix}_" not in _PREFIXES or not unique or not (index.isascii() and index.isdigit()):
        return None
    return f"{RESPONSE}{unique}", int(index[:4])


class Output:
    """`sealed`: whether reasoning gets the content that only this endpoint reads."""

    def __init__(self, response: str, tools: Tools, sealed: bool) -> None:
        self._unique, self._tools, self._sealed = response.removeprefix(RESPONSE), tools, sealed
        self._all: list[Writing] = []
        self._open: Message | Reasoning | None = None
        self._calls: dict[int, Writing] = {}

    @property
    def items(self) -> list[Item]:
        return [writing.item for writing in self._all]

    def add(self, delta: Delta) -> list[Event]:
        """The events of one delta."""
        match delta:
            case Text():
                return self._write(Message, delta.text, delta.logprobs)
            case Thought():
                return self._write(Reasoning, delta.text)
        return [event for call in delta.calls for event in self._call(call)]

    def add_whole(self, result: Result) -> None:
        """All of a result that was not streamed."""
        if result.thoughts:
            self.add(Thought(result.thoughts))
        if result.text:
            self.add(Text(result.text, logprobs=tuple(result.logprobs or ())))
        self.add(Calls(tuple({**call, "index": index} for index, call in enumerate(result.tool_calls))))

    def end(self, status: str) -> list[Event]:
        """Ends what is open. `status`: of the response. An answer without anything is an empty message."""
        events = [] if self._all else self._write(Message, "")
        ended = "completed" if status == "completed" else "incomplete"
        events += self._close("completed" if self._calls else ended)
        for call in self._calls.values():
            events += call.end(ended)
        self._calls.clear()
        return events

    def _write(self, kind: type[Message] | type[Reasoning], text: str, logprobs: Logprobs = ()) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._open, kind):
            events = self._close()
            place = self._place(kind)
            self._open = Message(*place) if kind is Message else Reasoning(*place, self._sealed)
            events += self._begin(self._open)
        assert self._open is not None
        return events + (self._open.write(text, logprobs) if text or logprobs else [])

    def _call(self, piece: Mapping[str, Any]) -> list[Event]:
        """Calls stay open until the end, since their pieces may come in turns."""
        index, function, events = int(piece.get("index") or 0), piece["function"], self._close()
        if index not in self._calls:
            origin = self._tools.origin(function["name"])
            kind = CustomCall if origin.custom else FunctionCall
            self._calls[index] = kind(*self._place(kind), piece["id"], origin)
            events += self._begin(self._calls[index])
        return events + self._calls[index].write(function.get("arguments") or "")

    def _close(self, status: str = "completed") -> list[Event]:
        events = [] if self._open is None else self._open.end(status)
        self._open = None
        return events

    def _begin(self, writing: Writing) -> list[Event]:
        self._all.append(writing)
        return writing.begin()

    def _place(self, kind: type[Writing]) -> tuple[str, int]:
        return f"{kind.prefix}{self._unique}_{len(self._all)}", len(self._all)
