"""What a call takes of its worker's limits per minute."""

from __future__ import annotations

from models.ledger.paces import Pace
from models.workers.ask import TOKEN_BYTES, Ask, Reply, prompt_bytes
from models.workers.worker import Worker

MARGIN = 1.01
"""Calls are spaced by this much more than the limit asks: on their way they come closer to one another."""


def paced(worker: Worker) -> bool:
    """Whether the worker has limits that all processes keep together."""
    limits = worker.limits
    return any((limits.in_flight, limits.requests_per_minute, limits.tokens_per_minute))


def pace_of(worker: Worker, ask: Ask, patience_s: float) -> Pace | None:
    """What the call takes: a request, and the tokens of its prompt and of its longest reply; `None` without limits."""
    if not paced(worker):
        return None
    requests = worker.limits.requests_per_minute
    request_s = MARGIN * 60.0 / requests if requests else 0.0
    return Pace(request_s, _seconds(worker, _most_tokens(worker, ask)), worker.limits.in_flight, patience_s)


def unused_s(worker: Worker, ask: Ask, reply: Reply) -> float:
    """Seconds of the tokens per minute that the call took and did not use."""
    return _seconds(worker, _most_tokens(worker, ask) - reply.usage.total_tokens)


def _most_tokens(worker: Worker, ask: Ask) -> int:
    return prompt_bytes(ask.messages, ask.sampling) // TOKEN_BYTES + worker.output_tokens(ask.sampling.max_tokens)


def _seconds(worker: Worker, tokens: int) -> float:
    a_minute = worker.limits.tokens_per_minute
    return MARGIN * 60.0 * tokens / a_minute if a_minute else 0.0
