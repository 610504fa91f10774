"""What one request can cost: its calls in order, each by the size of its prompt, and what the ledger reserves for them.

The sizes are upper bounds: a prompt is counted at one token a byte (as `prompt_bytes` says), an earlier reply in it at
TOKEN_BYTES bytes for each token that it may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.endpoint.answer.question import Question
from deployments.endpoint.wire.response import FUGU, TRINITY
from models.conductor.plan.workflow import PlanLimits
from models.workers.ask import TOKEN_BYTES, prompt_bytes
from models.workers.fitting.formats import COMPLAINT, schema_of
from models.workers.pool import Worker

PLANS = 2
"""Calls that may write the plan of a round: the second one repairs the first."""


@dataclass(frozen=True)
class Prices:
    """Of all calls of a request, USD. `worst`: each call is answered at its first try by the dearest of the workers
    that may get it. `with_failures`: each of them fails at every worker that may take it over, as often as a call is
    tried, and all tries but those that cost nothing are paid."""

    worst: float
    with_failures: float


def prices(
    question: Question,
    workers: Sequence[Worker],
    *,
    turns: int,
    plan: PlanLimits,
    depth: int,
    tries: int,
    max_calls: float | None,
    max_usd: float | None,
) -> Prices:
    """`workers`: who may be asked at all, who writes a plan included. `turns`: of `trinity`; `depth`: of `fugu-ultra`;
    `tries`: of a call on one worker. The limits hold for the sum, as the ledger holds them for the tries together."""
    # Whatever limit the caller has set is that of an answer, not of a plan, a thought or a verdict.
    most = question.sampling.max_tokens if question.name == FUGU else None
    reply = TOKEN_BYTES * max(worker.output_tokens(most) for worker in workers)
    size = prompt_bytes(question.messages, question.sampling)

    def each(more: int) -> list[float]:
        return [worker.worst_usd(size + more, most) for worker in workers]

    sizes = _sizes(question, reply, turns, plan, depth)
    limit = len(sizes) * tries * len(workers) if max_calls is None else int(max_calls)
    takes_over = question.fugu.failover
    first = [max(each(more)) for more in sizes[:limit]]
    # Those that a limit cuts off are the cheapest.
    tried = [usd for more in sizes for usd in (each(more) if takes_over else [max(each(more))]) for _ in range(tries)]
    failing = sorted(tried, reverse=True)[:limit]
    ceiling = float("inf") if max_usd is None else max_usd
    return Prices(min(sum(first), ceiling), min(sum(failing), ceiling))


def _sizes(question: Question, reply: int, turns: int, plan: PlanLimits, depth: int) -> list[int]:
    """For each call, in order, the bytes that its prompt has beside the question."""
    repairs = schema_of(question.sampling) is not None

    def again(more: int) -> list[int]:
        return [more, more + reply + COMPLAINT] if repairs else [more]

    if question.name == FUGU:
        return again(0) * question.choices
    if question.name == TRINITY:
        return [size for turn in range(turns) for size in again(turn * reply)]
    subtasks = TOKEN_BYTES * plan.max_steps * plan.max_subtask_chars
    calls = _calls(depth, PLANS, plan.max_steps, int(repairs), question.fugu.recursive is True)
    return [subtasks + number * reply for number in range(calls)]


def _calls(depth: int, plans: int, steps: int, repairs: int, recursive: bool) -> int:
    """Of a conducted request: of each of its rounds, and of the steps in them that the conductor takes itself."""
    if not recursive:
        return plans + steps + repairs
    rounds = 0
    for left in range(depth, -1, -1):
        inner = _calls(left - 1, plans, steps, repairs, True) if left else 1
        rounds += plans + steps * inner + repairs
    return rounds
