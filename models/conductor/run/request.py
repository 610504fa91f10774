"""A conducted request and its answer, as values that the ledger stores; and what the requests of a process share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.conductor.plan.workflow import PlanLimits
from models.errors import BadInput
from models.ledger.access.purses import Purse
from models.ledger.store import Ledger
from models.workers.ask import Message, Sampling, Usage
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy

if TYPE_CHECKING:
    from models.conductor.plan.writers import PlanWriter

MAX_DEPTH = 3

Rank = Callable[[Sequence[Message], Sequence[str]], Awaitable[Sequence[str]]]
"""(conversation, allowed workers) -> those workers, best first: the router's order."""

State = Literal["waiting", "running", "done", "failed", "awaiting-tools", "passed over"]


class Limits(BaseModel):
    """What one request may use, over all its rounds and continuations; `None` is no limit.

    `max_seconds` applies to each request separately: the time in which a client runs its tools does not count.
    `depth`: number of workflows that may be written beyond the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_usd: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_calls: int | None = Field(None, ge=1)
    max_seconds: float | None = Field(None, gt=0, allow_inf_nan=False)
    depth: int = Field(1, ge=0, le=MAX_DEPTH)


class ConductRequest(BaseModel):
    """One request to the conductor: JSON, and all that resuming or replaying it needs.

    `messages`: the user's whole conversation. `conversation`: the one whose memory it shares (`None`: a new one, by its
    id). `sampling`: all of it for the last step; the others get the fields that do not concern the answer's form.
    `allowed`: the workers that may be asked, in the pool's order. `shuffle`: the seed by which their ordinals are
    permuted; `None`: the pool's ordinals, masked. `failover`: whether a step that a worker fails at goes to another.
    `chain`: the requests that this one continues with tool results, oldest first. `wanted`: the workers that the caller
    listed, of which `allowed` are able (`None`: no list). `owner`: the id of the API key that asks, if one does; its
    budgets are the `purse`, on which all calls draw. `cheapest`: a step that does not fit them goes to the cheapest
    allowed worker. `barred`: workers and conductors that the key may not ask, the writer of the plan included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    messages: tuple[dict[str, Any], ...] = Field(min_length=1)
    allowed: tuple[str, ...] = Field(min_length=1)
    conversation: str | None = None
    sampling: Sampling = Sampling()
    limits: Limits = Limits(max_usd=None, max_calls=None, max_seconds=None, depth=1)
    shuffle: int | None = None
    recursive: bool = False
    chain: tuple[str, ...] = ()
    wanted: tuple[str, ...] | None = None
    failover: bool = True
    owner: str | None = None
    purse: Purse | None = None
    cheapest: bool = False
    barred: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The id of the first request: it names the workflows of all that continue it."""
        return self.chain[0] if self.chain else self.id

    @property
    def continues(self) -> str | None:
        """The request whose tool calls this one answers."""
        return self.chain[-1] if self.chain else None

    @property
    def key(self) -> str:
        """The conversation's key in the ledger."""
        return self.conversation or self.root


@dataclass(frozen=True)
class ConductParts:
    """What the request runs of one process share. `writer`: writes the plans. `cards`: each worker's skills, by name.

    `retry` bounds the tries of a step on one worker, over all its callers. `tools_s`: seconds for which a client's
    tool results are awaited.
    """

    ledger: Ledger
    pool: Pool
    dispatcher: Dispatcher
    writer: PlanWriter
    rank: Rank
    cards: Mapping[str, str] = field(default_factory=dict)
    plan: PlanLimits = PlanLimits()  # noqa: RUF009 - a frozen value
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009
    tools_s: float = 24 * 3600.0

    def refuse_shuffle(self, request: ConductRequest) -> None:
        """Raises BadInput for shuffled ordinals that the conductor could not map to workers."""
        if request.shuffle is None:
            return
        unknown = [name for name in request.allowed if not self.cards.get(name)]
        reason = None
        if not self.writer.reads_cards:
            reason = f"the conductor {self.writer.name!r} reads no cards, so it knows the workers by their order"
        elif unknown:
            reason = f"nothing has been measured of the worker {unknown[0]!r}, so its card is empty"
        if reason:
            raise BadInput(f"the workers cannot be shuffled: {reason}", "shuffle")


@dataclass(frozen=True)
class StepRecord:
    """The current state of a step. `index` counts from 0, `written` too, but before pruning; `number` is shown to
    everyone. `worker`: the one asked last; `tried`: those that failed before.

    `messages`: its last context, for display. `cost_usd`, `seconds` and `usage` are of all its calls.
    """

    workflow: str
    index: int
    subtask: str
    worker: str
    sees: tuple[int, ...]
    state: State = "waiting"
    tried: tuple[str, ...] = ()
    call_ids: tuple[str, ...] = ()
    text: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    seconds: float = 0.0
    messages: tuple[dict[str, Any], ...] = ()
    error: str | None = None
    written: int | None = None

    @property
    def number(self) -> int:
        """The step's number from 1, as in prompts, the trace, the run's page and `fugu show`."""
        return 1 + (self.index if self.written is None else self.written)


@dataclass(frozen=True)
class ConductAnswer:
    """The answer. `usage` is of the answering step's last call, `orchestration` of all other calls, the plans' too.

    `tool_calls`: to be run by the client (OpenAI's shape, our ids) before a continuation; then `text` is
    `None` and `finish_reason` "tool_calls". `trace` is JSON, made only of the ledger's values: rounds with plan,
    findings, repair and fallback, steps, and which limit ended it (`ended`).
    """

    text: str | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    worker: str | None
    tool_calls: tuple[dict[str, Any], ...] = ()
    usage: Usage = field(default_factory=Usage)
    orchestration: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    calls: int = 0
    trace: dict[str, Any] = field(default_factory=dict)


Nest = Callable[[int, Sequence[Message]], Awaitable[ConductAnswer]]
"""Runs a step that the conductor itself takes, as a nested request: (index, its messages) -> its answer."""
