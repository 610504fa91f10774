"""What a request may spend: its own limits, at most its key's, and the budgets of the key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from deployments.endpoint.access.costs import prices
from deployments.endpoint.answer.question import LIMITS, Question
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire.response import TRINITY
from models.conductor.run.request import Limits
from models.errors import BudgetExceeded, FuguError, LimitReached
from models.ledger.access.holding import Holding
from models.ledger.accounts import Allowance
from models.workers.fitting.formats import schema_of


def allowance_of(question: Question) -> Allowance | None:
    """Of an answer without a workflow; `None` for one that is not limited."""
    max_usd, max_calls, purse = question.limit("max_usd"), question.limit("max_calls"), question.caller.purse
    if max_usd is None and max_calls is None and purse is None:
        return None
    most = None if max_calls is None else int(max_calls)
    return Allowance(_request(question), max_usd, most, purse, held=_holds(question))


@asynccontextmanager
async def held(question: Question, parts: Parts, workers: Sequence[str], turns: int) -> AsyncIterator[None]:
    """In the block the budgets of the key that pays hold all that an answer without a workflow may cost: its turns, of
    which there are at most so many, with their repairs. One call, and several at once, are reserved as they are made.

    Raises BudgetExceeded.
    """
    if not _holds(question):
        yield
        return
    holding = Holding(parts.ledger, _request(question), question.caller.purse, parts.dispatcher.retry.patience_s)
    limits = {name: question.limit(name) for name in ("max_calls", "max_usd")}
    asked = [parts.pool.worker(name) for name in workers]
    found = prices(question, asked, turns=turns, plan=parts.plan, depth=0, tries=1, **limits)
    try:
        await holding.take(found.worst)
        yield
    finally:
        await holding.release()


def _holds(question: Question) -> bool:
    """Whether one call may follow another, unless it goes to the cheapest worker once a budget is full, which is found
    call by call."""
    follow = question.name == TRINITY or schema_of(question.sampling) is not None
    return follow and question.caller.purse is not None and question.caller.policy.on_exceeded != "cheapest"


def _request(question: Question) -> str:
    return question.key.id if question.key else question.id


def limits_of(question: Question, default: Limits) -> Limits:
    """Of a conducted request. Raises BadInput."""
    limits = question.fugu.limits(default)
    return limits.model_copy(update={name: question.limit(name, getattr(default, name)) for name in LIMITS})


def is_too_dear(error: FuguError) -> bool:
    """Whether a cheaper worker may be asked where this one did not fit what may be spent."""
    return isinstance(error, BudgetExceeded) or (isinstance(error, LimitReached) and error.limit == "max_usd")
