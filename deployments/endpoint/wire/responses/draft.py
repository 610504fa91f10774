"""One response while it is being made: its body, its events, and what of them a client has not been sent yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deployments.endpoint.answer.result import Delta, Result
from deployments.endpoint.wire.problems import Problem
from deployments.endpoint.wire.response import encode, usage_body
from deployments.endpoint.wire.responses.output import Output
from deployments.endpoint.wire.responses.tools import Tools
from deployments.endpoint.wire.responses.written import Event

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""A finish reason -> why a response is incomplete."""


def encoded(event: Event) -> bytes:
    """A server-sent event, with its type as its name."""
    return b"event: " + event["type"].encode() + b"\ndata: " + encode(event) + b"\n\n"


class Draft:
    """Its methods give the events of what they do, as bytes.

    `asked`: the fields of the body that repeat the request. `queued`: it is answered in the background.
    """

    def __init__(self, asked: Mapping[str, Any], tools: Tools, sealed: bool, queued: bool = False) -> None:
        self._asked, self._tools, self._sealed = asked, tools, sealed
        self._ended: dict[str, Any] = {}
        self._number = 0
        self._output: Output | None = None
        self._head: dict[str, Any] = {}
        self.status = "queued" if queued else "in_progress"

    @property
    def begun(self) -> bool:
        return self._output is not None

    def begin(self, id: str, created: int) -> bytes:
        """To be called once, before anything else. `created`: Unix seconds."""
        self._output = Output(id, self._tools, self._sealed)
        self._head = {"id": id, "object": "response", "created_at": created}
        states = ("created", "queued") if self.status == "queued" else ("created", "in_progress")
        return self._told([{"type": f"response.{state}", "response": self.body()} for state in states])

    def run(self) -> bytes:
        """A queued response is being answered now."""
        self.status = "in_progress"
        return self._told([{"type": "response.in_progress", "response": self.body()}])

    def add(self, delta: Delta) -> bytes:
        """May be empty."""
        assert self._output is not None
        return self._told(self._output.add(delta))

    def finish(self, result: Result, streamed: bool, at: int | None) -> bytes:
        """The answer is complete: what comes before the last event. `streamed`: its deltas have been added. `at`: Unix
        seconds."""
        assert self._output is not None
        if not streamed:
            self._output.add_whole(result)
        reason = INCOMPLETE.get(result.finish_reason)
        self.status = "completed" if reason is None else "incomplete"
        usage = usage_of(usage_body(result.usage, result.orchestration))
        self._ended = {"usage": usage, "incomplete_details": None if reason is None else {"reason": reason}}
        if reason is None:
            self._ended["completed_at"] = at
        return self._told(self._output.end(self.status))

    def fail(self, problem: Problem) -> None:
        assert self._output is not None
        if self._output.items:
            self._output.end("incomplete")
        self.status = "failed"
        self._ended = {"error": {"code": code_of(problem), "message": problem.message}}

    def cancel(self) -> None:
        assert self._output is not None
        if self._output.items:
            self._output.end("incomplete")
        self.status = "cancelled"

    def last(self, more: Mapping[str, Any] | None = None) -> bytes:
        """The event that ends a stream. `more`: fields that the body has beside those of the API."""
        # There is no event for a cancelled response: the client that cancelled it knows.
        kind = "failed" if self.status == "cancelled" else self.status
        return self._told([{"type": f"response.{kind}", "response": {**self.body(), **(more or {})}}])

    def body(self) -> dict[str, Any]:
        assert self._output is not None
        return {
            **self._head,
            "status": self.status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            **self._asked,
            "output": self._output.items if self.status != "queued" else [],
            "usage": None,
            **self._ended,
        }

    def _told(self, events: Iterable[Event]) -> bytes:
        pieces = []
        for event in events:
            pieces.append(encoded({**event, "sequence_number": self._number}))
            self._number += 1
        return b"".join(pieces)


def usage_of(counted: Mapping[str, Any]) -> dict[str, Any]:
    """The usage of a chat completion under the names of this API."""
    details = dict(counted["prompt_tokens_details"])
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cache_write_tokens": details.pop("cache_creation_tokens", 0), **details},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": counted["completion_tokens_details"],
        "total_tokens": counted["total_tokens"],
    }


def code_of(problem: Problem) -> str:
    """The code of a failed response; the API has but a few."""
    if problem.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if problem.status == 400 else "server_error"
