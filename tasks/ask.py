"""The task that asks a worker once; every turn that a flow shows is one of these."""

from __future__ import annotations

from typing import Any

from prefect.context import TaskRunContext

from models.digest import json_digest
from models.ledger.calls import is_settled
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply
from tasks.caching import PAID, REVISION, unless_lost
from tasks.quiet import task
from tasks.setup.asking import Asking
from tasks.setup.runner import result_of
from tasks.setup.session import Access, current, read_ledger


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> tuple[str, bool]:
    """The call, and whether the ledger has its reply."""
    identity = parameters["identity"]

    def read(ledger: Ledger) -> tuple[str, bool]:
        return json_digest([context.task.name, REVISION, ledger.name, identity]), is_settled(ledger, identity)

    return read_ledger(parameters["access"], read)


@task(task_run_name="{label}", cache_key_fn=unless_lost(_key), **PAID)
async def ask_worker(access: Access, identity: str, label: str, payload: dict[str, Any]) -> str:
    """Send the ask, or read its settled reply. Returns the call's id: texts are stored in the ledger only."""
    return (await Asking(access).ask(Ask.model_validate(payload))).call_id


async def ask(wanted: Ask, label: str) -> Reply:
    """Submit `ask_worker`, then read the settled reply from the ledger, also if Prefect took the task from its cache.

    For flows.
    """
    access = current().access
    await result_of(ask_worker, access, wanted.identity, label, wanted.payload())
    return await Asking(access).ask(wanted)
