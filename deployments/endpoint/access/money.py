"""What a request may spend: its own limits, at most its key's, and the budgets of the key."""

from __future__ import annotations

from deployments.endpoint.answer.question import LIMITS, Question
from models.conductor.run.request import Limits
from models.errors import BudgetExceeded, FuguError, LimitReached
from models.ledger.accounts import Allowance


def allowance_of(question: Question) -> Allowance | None:
    """Of an answer without a workflow; `None` for one that is not limited."""
    max_usd, max_calls, purse = question.limit("max_usd"), question.limit("max_calls"), question.caller.purse
    if max_usd is None and max_calls is None and purse is None:
        return None
    id = question.key.id if question.key else question.id
    return Allowance(id, max_usd, None if max_calls is None else int(max_calls), purse)


def limits_of(question: Question, default: Limits) -> Limits:
    """Of a conducted request. Raises BadInput."""
    limits = question.fugu.limits(default)
    return limits.model_copy(update={name: question.limit(name, getattr(default, name)) for name in LIMITS})


def is_too_dear(error: FuguError) -> bool:
    """Whether a cheaper worker may be asked where this one did not fit what may be spent."""
    return isinstance(error, BudgetExceeded) or (isinstance(error, LimitReached) and error.limit == "max_usd")
