"""Rollouts on repositories: which tasks, which agent, and the endpoint that it asks.

The endpoint stands above flows and tasks, so it is handed in from there (`deployments/agentic.py`) by `provide`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect.cache_policies import NO_CACHE

from models.coding.agent import Agent, load_agent
from models.coding.rollouts import Asking, Bench, Player, RolloutEnd, Rollouts, Serve, TaskSlot
from models.errors import NotReady
from models.grading import command
from models.grading.repository import RepositoryTask, load_tasks
from models.isolation import workshop
from models.ledger.store import Ledger
from models.workers.pool import Pool
from tasks.caching import RETRIED
from tasks.quiet import task
from tasks.setup.session import Session
from tasks.setup.settings import settings

ServerOf = Callable[[Ledger, Pool], Serve]

_PROVIDED: list[ServerOf] = []


def provide(server_of: ServerOf) -> None:
    """Say what serves candidates to agents in this process; the last one counts."""
    _PROVIDED[:] = [server_of]


def find_tasks(name_or_folder: str) -> list[RepositoryTask]:
    """The tasks of a folder, or of that name's in the data. Raises BadFile for a folder that cannot be used."""
    return load_tasks(_folder(name_or_folder))


def _folder(name_or_folder: str) -> Path:
    return Path(name_or_folder).expanduser().resolve() if "/" in name_or_folder else settings().data / name_or_folder


def find_agent(name: str) -> Agent:
    """The agent of that name: of the home's own `agents.yaml` where that file is, else of the data's."""
    own = settings().home / "agents.yaml"
    return load_agent(own if own.is_file() else settings().data / "agents.yaml", name)


def open_rollouts(
    session: Session,
    tasks: Sequence[RepositoryTask],
    agent: Agent,
    *,
    scope: str,
    model: str = "fugu",
    repeats: int = 1,
    asking: Asking | None = None,
) -> Rollouts:
    """The rollouts of these tasks, whose calls go through `asking` (by default the session's dispatcher).

    Raises IsolationUnavailable, or NotReady where nothing was handed in that serves.
    """
    if not _PROVIDED:
        raise NotReady("nothing here serves an agent: start the flow from its deployment, or call tasks.coding.provide")
    workshop.isolation()
    serve = _PROVIDED[0](session.ledger, session.pool)
    hides = tuple({task.folder.parent for task in tasks} | {settings().home})
    bench = Bench(agent, serve, asking or session.dispatcher, scope, model, hides)
    return Rollouts(bench, [TaskSlot(task, repeat) for task in tasks for repeat in range(repeats)])


def meaning(tasks: Sequence[RepositoryTask], agent: Agent, model: str) -> str:
    """Digest of what decides how rollouts end, beside the policy and the pool: for keys and epochs."""
    parts = [[task.id, task.question.digest, task.instruction, task.check] for task in tasks]
    text = json.dumps([parts, agent.digest, model, command.VERSION], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@task(task_run_name="roll out {label} on {name}", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def roll_out_task(
    label: str, name: str, rollouts: Rollouts, players: Callable[[int], Player], indices: list[int]
) -> list[RolloutEnd]:
    """A policy's rollouts of one task. The calls are the ledger's: what was paid once is read."""
    return await rollouts.ends(players, indices)
