"""Which workers a key may ask."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.endpoint.answer.question import Caller
from deployments.endpoint.wire.problems import Problem
from models.ledger.access.policy import Policy
from models.workers.pool import Pool, Worker


def permitted(pool: Pool, caller: Caller, wanted: Sequence[str] | None) -> tuple[Worker, ...]:
    """The pool's workers that the caller may ask, and wants. Raises Problem 403 where that leaves none."""
    may = [worker for worker in pool.workers if may_ask(caller.policy, worker)]
    if not may:
        raise _refused(f"the key {caller.name!r} may ask none of the workers here")
    left = tuple(worker for worker in may if wanted is None or worker.name in wanted)
    if not left and wanted:
        names = ", ".join(dict.fromkeys(wanted))
        raise _refused(f"the key {caller.name!r} may not ask {names}")
    return left


def barred(pool: Pool, caller: Caller) -> tuple[str, ...]:
    """The workers and conductors of the pool that the caller may not ask."""
    return tuple(one.name for one in (*pool.workers, *pool.conductors) if not may_ask(caller.policy, one))


def may_ask(policy: Policy, worker: Worker) -> bool:
    listed = (
        (worker.name, policy.workers, policy.denied_workers),
        (worker.vendor, policy.vendors, policy.denied_vendors),
        (worker.region, policy.regions, policy.denied_regions),
    )
    if any((allowed and value not in allowed) or value in denied for value, allowed, denied in listed):
        return False
    return not policy.local_only or worker.local or worker.is_local or worker.is_house


def _refused(message: str) -> Problem:
    return Problem(403, message, "permission_error", "worker_not_permitted", "fugu.allowed_workers")
