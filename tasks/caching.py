"""Where caching and retrying are decided: what each task's key holds, and which failures are tried again.

A key holds what changes the result and nothing else: never a run id, a clock or a client (DESIGN, decision 4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import Task, exponential_backoff

from models.digest import json_digest
from models.errors import TransientError

REVISION = "3"
"""Part of every key: change what a task computes, change the number."""


def key_of(*names: str) -> Callable[[TaskRunContext, dict[str, Any]], str]:
    """A cache key from the named parameters, each a JSON value or an array."""

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        meaning = [context.task.name, REVISION, *(_meaning(parameters[name]) for name in names)]
        return json_digest(meaning)

    return key


def _meaning(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    return value


async def transient_only(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: only where the error says that a later one may succeed."""
    try:
        await state.aresult()
    except TransientError:
        return True
    except BaseException:
        return False
    return False


RETRIED: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": transient_only,
}
"""The options of every task that asks workers: tried again on transient failures alone."""

STEP_DELAYS = [2.0, 4.0, 8.0]
"""Seconds between the tries of a step's task; the last one again and again. The step itself does not wait for them."""

PAID = RETRIED | {"persist_result": True, "result_serializer": "json"}
"""Those whose result is kept under a key of its meaning."""
