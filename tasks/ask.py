"""The task that asks a worker once; every turn that a flow shows is one of these."""

from __future__ import annotations

from typing import Any

from models.workers.ask import Ask, Reply
from tasks.caching import PAID, key_of
from tasks.quiet import task
from tasks.setup.session import current


@task(task_run_name="{label}", cache_key_fn=key_of("identity"), **PAID)
async def ask_worker(identity: str, label: str, payload: dict[str, Any]) -> str:
    """Send the ask, or read its settled reply. Returns the call's id: texts are stored in the ledger only."""
    reply = await current().ask(Ask.model_validate(payload))
    return reply.call_id


async def ask(wanted: Ask, label: str) -> Reply:
    """Run `ask_worker`, then read the settled reply from the ledger, also if Prefect took the task from its cache."""
    await ask_worker(wanted.identity, label, wanted.payload())
    return await current().ask(wanted)
