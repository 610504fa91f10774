"""Cache keys and retry options of the tasks.

A key contains what changes the result and nothing else: no run id, time or client (ARCHITECTURE, decision 4).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.results import get_result_store
from prefect.tasks import Task, exponential_backoff

from models.digest import json_digest
from models.errors import TransientError

REVISION = "3"
"""Part of every key: change the number whenever a task computes something else."""


def key_of(*names: str) -> Callable[[TaskRunContext, dict[str, Any]], str]:
    """A cache key function of the named parameters, each a JSON value or an array."""

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        meaning = [context.task.name, REVISION, *(_meaning(parameters[name]) for name in names)]
        return json_digest(meaning)

    return key


def _meaning(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    return value


def unless_lost(
    meant: Callable[[TaskRunContext, dict[str, Any]], tuple[str, bool]],
) -> Callable[[TaskRunContext, dict[str, Any]], str]:
    """A cache key function for a task whose work is in the ledger: where a kept result stands for rows that are no
    longer there (pruned, or of a restored ledger), the key is a new one, so that the task runs again.

    `meant`: the key, and whether the ledger has the rows.
    """

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        return kept_or_new(*meant(context, parameters))

    return key


def kept_or_new(key: str, there: bool) -> str:
    """The key, or a new one where a result is kept under it and its rows are gone. `there`: the ledger has them."""
    return f"{key}-{uuid.uuid4().hex}" if not there and get_result_store().exists(key) else key


async def transient_only(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task may be retried: only after a TransientError."""
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
"""Options of every task that asks workers: retry on transient failures only."""

STEP_DELAYS = [2.0, 4.0, 8.0]
"""Seconds between the tries of a step's task; the last one repeats. The step itself does not wait for them."""

PAID = RETRIED | {"persist_result": True, "result_serializer": "json"}
"""Options of tasks that ask workers and whose result is persisted under the cache key."""
