"""An answer in no wire format: its deltas, its result, who gave it, and the protocol of what obtains it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.endpoint.answer.question import Question
from models.ledger.requests import Row
from models.workers.ask import Usage

PIECE = 256
"""Characters in a delta of a text that was whole before it was sent."""


@dataclass(frozen=True)
class Text:
    """`choice`: of which answer, where several are wanted. `logprobs`: of the text's tokens, in OpenAI's shape."""

    text: str
    choice: int = 0
    logprobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Calls:
    """Tool calls, or pieces of them, in OpenAI's shape, each with its `index`."""

    calls: tuple[Mapping[str, Any], ...]
    choice: int = 0


@dataclass(frozen=True)
class Thought:
    """Work that is shown beside the answer: a plan, a step's words, a worker's visible reasoning."""

    text: str


Delta = Text | Calls | Thought
Emit = Callable[[Delta], Awaitable[None]]
"""Takes one delta of a streamed answer; waits while the client is slow."""


@dataclass(frozen=True)
class Result:
    """`orchestration`: what a conducted request used beside its answering step. `thoughts`: the shown work as one text,
    where the caller asked for it. `stopped_at`: the stop at which it ended, where the worker says so. `others`: further
    answers, where several are wanted; the usage is of all together.
    """

    text: str | None
    tool_calls: tuple[Mapping[str, Any], ...]
    finish_reason: str
    usage: Usage
    orchestration: Usage | None = None
    thoughts: str | None = None
    logprobs: tuple[Mapping[str, Any], ...] | None = None
    stopped_at: str | None = None
    others: tuple[Result, ...] = ()

    @property
    def choices(self) -> tuple[Result, ...]:
        return self, *self.others


@dataclass(frozen=True)
class Report:
    """Who has answered so far, and at what cost; `None` is unknown. No prompt and no reply is in it.

    `log`: fields of the request's log line. `trace`: the object `fugu` of a traced answer. `notes`: how the request was
    fitted to the workers that were asked, one sentence each.
    """

    log: Mapping[str, Any]
    trace: Mapping[str, Any]
    worker: str | None = None
    turns: int | None = None
    roles: tuple[str, ...] = ()
    margin: float | None = None
    cost_usd: float | None = None
    notes: tuple[str, ...] = ()


class Answering(Protocol):
    """One question on its way to its result. `created`: Unix seconds; final once the first delta has been emitted.

    `slow`: whether its first delta may take long, so that a client should soon see that something happens.
    """

    @property
    def slow(self) -> bool: ...

    @property
    def id(self) -> str: ...

    @property
    def created(self) -> int: ...

    async def answer(self, emit: Emit | None) -> Result:
        """The result, called once; with `emit`, its deltas first. Cancelled when the client goes away."""

    def report(self) -> Report:
        """May be called at any time, also after a failure."""

    def keep(self, row: Row) -> None:
        """Called once, with the request's log line and user, when the request is over. Returns immediately."""


Route = Callable[[Question, Callable[[], str]], Answering]
"""A way to obtain answers: (question, digest of what it asks). Raises BadInput, Problem for a question not taken."""


async def emit_whole(result: Result, emit: Emit) -> None:
    """The deltas of a result that was whole before it was sent."""
    if result.thoughts:
        await emit(Thought(result.thoughts))
    for choice, said in enumerate(result.choices):
        text, logprobs = said.text or "", said.logprobs or ()
        for start in range(0, len(text), PIECE):
            await emit(Text(text[start : start + PIECE], choice, () if start else logprobs))
        for index, call in enumerate(said.tool_calls):
            await emit(Calls(({"index": index, **call},), choice))
