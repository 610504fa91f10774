"""`POST /v1/estimate`: who would answer a chat completion, and what that would cost. Nothing is asked or spent.

`worst` is what the ledger would reserve: prompts at one token a byte, replies as long as they may be, the dearest of
the workers that may be asked. `min` is the worker that would be asked first, its prompt at four bytes a token and a
reply of one token. Tries that fail after they were sent may be paid on top.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.access.gate import caller_of
from deployments.endpoint.access.money import limits_of
from deployments.endpoint.access.workers import may_ask
from deployments.endpoint.answer.abilities import candidates
from deployments.endpoint.answer.champions import Seats
from deployments.endpoint.answer.format import WireFormat
from deployments.endpoint.answer.keeping import Keeping
from deployments.endpoint.answer.question import LIMITS, Question
from deployments.endpoint.parts import Options, Parts
from deployments.endpoint.wire.problems import no_worker, not_ready, problem_of, problem_response, unknown_model
from deployments.endpoint.wire.response import FUGU, TRINITY, ULTRA, encode
from deployments.endpoint.wire.streaming import read_body, refuse_pages
from models.fugu.decision import best_first
from models.fugu.rollout import first_transcript, options_of
from models.ledger.access.purses import left_in
from models.workers.ask import TOKEN_BYTES, prompt_bytes
from models.workers.pool import Worker

PLANS = 2
"""Calls that may write the plan of a round: the second one repairs the first."""

Rank = Callable[[Any, Sequence[str]], Awaitable[Sequence[str]]]


class Estimates:
    """`rank`: the order in which a conducted request's workers are asked. `wire`: how the request is written."""

    def __init__(
        self, parts: Parts, seats: Seats, rank: Rank, keeping: Keeping, options: Options, wire: WireFormat
    ) -> None:
        self._parts, self._seats, self._rank, self._keeping = parts, seats, rank, keeping
        self._options, self._wire = options, wire

    async def respond(self, request: Request) -> Response:
        """The HTTP handler."""
        try:
            refuse_pages(request)
            body = await read_body(request, self._options.max_body_bytes, self._options.body_s)
            question = self._wire.question("", None, request.headers, body, self._options.bounds)
            found = await self._estimate(replace(question, caller=caller_of(request.scope)))
        except Exception as error:
            problem = problem_of(error)
            return problem_response(problem, body=self._wire.error(problem))
        return Response(encode(found), media_type="application/json")

    async def _estimate(self, question: Question) -> dict[str, Any]:
        if question.model not in (FUGU, TRINITY, ULTRA):
            raise unknown_model(question.model)
        if question.model != ULTRA:
            question.refuse_conducting()
        if question.model == TRINITY:
            question.refuse_tools()
        allowed = candidates(self._parts.pool, question, question.wanted())
        closed = await self._parts.dispatcher.open_workers()
        if not (open_ := [name for name in allowed if name not in closed]):
            raise no_worker(math.inf)
        order, told = await self._first(question, open_)
        limits = {name: question.limit(name) for name in LIMITS}
        if question.model == ULTRA:
            limits = {name: getattr(limits_of(question, self._options.limits), name) for name in LIMITS}
        worst = self._worst(question, allowed, limits)
        least = min(self._least(question, order[0]), worst)
        return {
            "object": "estimate",
            "model": question.model,
            "worker": order[0],
            **told,
            "workers": [self._worker(question, name) for name in order],
            "cost_usd": {"min": _usd(least), "worst": _usd(worst)},
            "limits": limits,
            "budgets": self._budgets(question),
        }

    async def _first(self, question: Question, allowed: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """The workers, who is asked first at first, and what else the router says. Raises Problem 503."""
        seat = self._seats.seat(FUGU if question.model == ULTRA else question.model)
        if seat is None:
            raise not_ready(f"the model {question.model!r} is not loaded yet")
        if question.model == ULTRA:
            return list(await self._rank(question.messages, allowed)), {"margin": None, "role": None}
        if seat.router is None:
            return best_first(allowed, [str(seat.worker)], [0.0]), {"margin": None, "role": None}
        known = [name for name in seat.router.workers if name in allowed]
        if not known:
            raise no_worker(math.inf)
        keeps = question.model == FUGU
        decider = await self._keeping.of(question, seat.router) if keeps else seat.router
        options = options_of(seat.router, roles=not keeps)
        read = first_transcript(question.messages, len(seat.router.workers), options)
        found = await decider.decide(read, known)
        order = best_first(known, seat.router.workers, found.worker_logits)
        order = [found.worker, *(name for name in order if name != found.worker)]
        role = found.role.name if found.role is not None and question.model == TRINITY else None
        return order, {"margin": found.margin if math.isfinite(found.margin) else None, "role": role}

    def _worker(self, question: Question, name: str) -> dict[str, Any]:
        worst = self._dearest([self._parts.pool.worker(name)], question, 0)
        return {"worker": name, "min_usd": _usd(self._least(question, name)), "worst_usd": _usd(worst)}

    def _least(self, question: Question, name: str) -> float:
        price = self._parts.pool.worker(name).price
        if price is None:
            return 0.0
        texts = prompt_bytes(question.messages, question.sampling)
        return price.usd(texts // TOKEN_BYTES, 1)

    def _worst(self, question: Question, allowed: Sequence[str], limits: dict[str, float | None]) -> float:
        pool = self._parts.pool
        workers = [pool.worker(name) for name in allowed]
        calls, more = 1, 0
        if question.model == TRINITY:
            calls = self._options.turns
        if question.model == ULTRA:
            plan, wish = self._parts.plan, question.fugu
            deep = limits_of(question, self._options.limits).depth if wish.recursive else 0
            calls = (1 + deep) * (PLANS + plan.max_steps)
            more = TOKEN_BYTES * plan.max_steps * plan.max_subtask_chars
            policy = question.caller.policy
            # Whoever writes the plan is one of these.
            workers = [worker for worker in (*pool.workers, *pool.conductors) if may_ask(policy, worker)]
        calls = min(calls, int(limits["max_calls"] or calls))
        longest = TOKEN_BYTES * max(worker.limits.max_output_tokens for worker in workers)
        usd = sum(self._dearest(workers, question, more + turn * longest) for turn in range(calls))
        ceiling = limits["max_usd"]
        return usd if ceiling is None else min(usd, ceiling)

    def _dearest(self, workers: Sequence[Worker], question: Question, more: int) -> float:
        """The most that one call can cost, its prompt `more` bytes longer than the question."""
        size = prompt_bytes(question.messages, question.sampling) + more
        # Whatever limit the caller has set is that of an answer, not of a plan, a thought or a verdict.
        most = question.sampling.max_tokens if question.model == FUGU else None
        return max(worker.worst_usd(size, most) for worker in workers)

    def _budgets(self, question: Question) -> list[dict[str, Any]]:
        """What is left of the key's budgets."""
        purse = question.caller.purse
        return [] if purse is None else left_in(self._parts.ledger, purse)


def _usd(value: float) -> float:
    """To the ledger's unit, a billionth; never less."""
    return math.ceil(round(value * 1e9, 3)) / 1e9
