"""`POST /v1/estimate`: who would answer a chat completion, and what that would cost. Nothing is asked or spent.

What the request itself would be refused for before any call, it is refused for here: its route is asked first.

`worst` is what the ledger would reserve where no call fails: all choices, turns or steps, plans and repairs, prompts at
one token a byte, replies as long as they may be, each by the dearest of the workers that may be asked. A call that
fails after it was sent may have been paid, and is repeated, or taken over by another worker: `with_failures` is the
cost where that happens to every call as often as it may. More than that is not paid for the request, but for the turns
of a client's tools, which are requests of their own (and keep the limits of the first). `min` is the worker that would
be asked first, its prompt at four bytes a token and replies of one token. The costs of each worker are of one call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.access.costs import Prices, prices
from deployments.endpoint.access.gate import caller_of
from deployments.endpoint.access.money import limits_of
from deployments.endpoint.access.workers import may_ask
from deployments.endpoint.answer.abilities import ALLOWED, candidates
from deployments.endpoint.answer.aliases import by_its_own_name
from deployments.endpoint.answer.champions import Seat, Seats
from deployments.endpoint.answer.conductor import Conductor
from deployments.endpoint.answer.format import WireFormat
from deployments.endpoint.answer.keeping import Keeping
from deployments.endpoint.answer.question import LIMITS, Question
from deployments.endpoint.answer.result import Route
from deployments.endpoint.answer.stack import check_scope
from deployments.endpoint.parts import CONDUCTING, Options, Parts
from deployments.endpoint.wire.problems import no_worker, not_ready, problem_of, problem_response, unknown_model
from deployments.endpoint.wire.response import FUGU, TRINITY, ULTRA, encode
from deployments.endpoint.wire.streaming import read_body, refuse_pages
from models.errors import NoWorkerAllowed
from models.fugu.decision import best_first
from models.fugu.rollout import first_transcript, options_of
from models.ledger.access.purses import left_in
from models.workers.ask import TOKEN_BYTES, prompt_bytes


class Estimates:
    """`wire`: how the request is written. `routes`: what answers each model, and refuses what it does not take."""

    def __init__(
        self,
        parts: Parts,
        seats: Seats,
        conductor: Conductor,
        keeping: Keeping,
        options: Options,
        wire: WireFormat,
        routes: Mapping[str, Route],
    ) -> None:
        self._parts, self._seats, self._conductor, self._keeping = parts, seats, conductor, keeping
        self._options, self._wire, self._routes = options, wire, routes

    async def respond(self, request: Request) -> Response:
        """The HTTP handler."""
        try:
            refuse_pages(request)
            body = await read_body(request, self._options.max_body_bytes, self._options.body_s)
            question = self._wire.question("", None, request.headers, body, self._options.bounds)
            question = by_its_own_name(question, self._options.aliases, self._routes)
            question = replace(question, caller=caller_of(request.scope))
            if question.name not in self._routes:
                raise unknown_model(question.model)
            check_scope(question, request.headers.get("X-Fugu-Trace") == "1")
            found = await self._estimate(question)
        except Exception as error:
            problem = problem_of(error)
            return problem_response(problem, body=self._wire.error(problem))
        return Response(encode(found), media_type="application/json")

    async def _estimate(self, question: Question) -> dict[str, Any]:
        self._routes[question.name](question, lambda: "")
        conducted = question.name == ULTRA
        if conducted:
            question.tool_results()
        allowed = candidates(self._parts.pool, question, question.wanted())
        if conducted:
            self._conductor.check(question, allowed)
        closed = await self._parts.dispatcher.open_workers()
        if not (open_ := [name for name in allowed if name not in closed]):
            raise no_worker(min(closed[name].wait_s(datetime.now(UTC)) for name in allowed))
        order, told = await self._first(question, open_)
        limits = {name: question.limit(name) for name in LIMITS}
        if conducted:
            limits = {name: getattr(limits_of(question, self._options.limits), name) for name in LIMITS}
        cost = self._prices(question, allowed, limits)
        least = min(question.choices * self._least(question, order[0]), cost.worst)
        return {
            "object": "estimate",
            "model": question.model,
            "worker": order[0],
            **told,
            "workers": [self._worker(question, name) for name in order],
            "cost_usd": {
                "min": _usd(least),
                "worst": _usd(cost.worst),
                "with_failures": _usd(cost.with_failures),
            },
            "limits": limits,
            "budgets": self._budgets(question),
        }

    async def _first(self, question: Question, allowed: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """The workers, who is asked first at first, and what else the router says. Raises Problem 404, 503."""
        if question.name == ULTRA:
            return list(await self._conductor.rank(question.messages, allowed)), {"margin": None, "role": None}
        seat = await self._seat(question)
        if seat.router is None:
            return best_first(allowed, [str(seat.worker)], [0.0]), {"margin": None, "role": None}
        known = [name for name in seat.router.workers if name in allowed]
        if not known:
            raise NoWorkerAllowed("the router knows none of the allowed workers", ALLOWED)
        keeps = question.name == FUGU
        router = seat.thrifty(question.fugu.cost_weight)
        decider = await self._keeping.of(question, router) if keeps else router
        options = options_of(seat.router, roles=not keeps)
        read = first_transcript(question.messages, len(seat.router.workers), options)
        found = await decider.decide(read, known)
        order = best_first(known, seat.router.workers, found.worker_logits)
        order = [found.worker, *(name for name in order if name != found.worker)]
        role = found.role.name if found.role is not None and question.name == TRINITY else None
        return order, {"margin": found.margin if math.isfinite(found.margin) else None, "role": role}

    async def _seat(self, question: Question) -> Seat:
        if question.pin is not None:
            return await self._seats.pinned(question.name, question.pin)
        seat = self._seats.seat(question.name)
        if seat is None:
            raise not_ready(f"the model {question.model!r} is not loaded yet")
        return seat

    def _worker(self, question: Question, name: str) -> dict[str, Any]:
        most = question.sampling.max_tokens if question.name == FUGU else None
        worst = self._parts.pool.worker(name).worst_usd(prompt_bytes(question.messages, question.sampling), most)
        return {"worker": name, "min_usd": _usd(self._least(question, name)), "worst_usd": _usd(worst)}

    def _least(self, question: Question, name: str) -> float:
        price = self._parts.pool.worker(name).price
        if price is None:
            return 0.0
        texts = prompt_bytes(question.messages, question.sampling)
        return price.usd(texts // TOKEN_BYTES, 1)

    def _prices(self, question: Question, allowed: Sequence[str], limits: dict[str, float | None]) -> Prices:
        pool, depth, tries = self._parts.pool, 0, self._parts.dispatcher.retry.tries
        workers = [pool.worker(name) for name in allowed]
        if question.name == ULTRA:
            depth, tries = limits_of(question, self._options.limits).depth, CONDUCTING.tries
            # Whoever writes the plan is one of these.
            policy = question.caller.policy
            workers = [worker for worker in (*pool.workers, *pool.conductors) if may_ask(policy, worker)]
        return prices(
            question,
            workers,
            turns=self._options.turns,
            plan=self._parts.plan,
            depth=depth,
            tries=tries,
            max_calls=limits["max_calls"],
            max_usd=limits["max_usd"],
        )

    def _budgets(self, question: Question) -> list[dict[str, Any]]:
        """What is left of the key's budgets."""
        purse = question.caller.purse
        return [] if purse is None else left_in(self._parts.ledger, purse)


def _usd(value: float) -> float:
    """To the ledger's unit, a billionth; never less."""
    return math.ceil(round(value * 1e9, 3)) / 1e9
