"""Rollouts of coding agents on repositories: the tasks, the agent, and the endpoint that it calls.

The endpoint belongs to a layer above tasks, so that layer provides it (`provide`, called in `deployments/agentic.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from prefect.cache_policies import NO_CACHE

from models.coding.agent import Agent, load_agent
from models.coding.rollouts import Bench, Player, RolloutEnd, Rollouts, Serve, TaskSlot
from models.digest import json_digest
from models.errors import NotReady
from models.grading import command
from models.grading.repository import RepositoryTask, load_tasks
from models.isolation import workshop
from models.ledger.store import Ledger
from models.workers.pool import Pool
from tasks.caching import RETRIED
from tasks.quiet import task
from tasks.setup.session import Session
from tasks.setup.settings import config_file, settings

ServerOf = Callable[[Ledger, Pool], Serve]

_PROVIDED: list[ServerOf] = []


def provide(server_of: ServerOf) -> None:
    """Set the endpoint that serves candidates to agents in this process; a later call replaces it."""
    _PROVIDED[:] = [server_of]


def find_tasks(name_or_folder: str) -> list[RepositoryTask]:
    """The tasks in a folder, or in the data folder of that name. Raises BadFile for a folder that cannot be used."""
    return load_tasks(_folder(name_or_folder))


def _folder(name_or_folder: str) -> Path:
    return Path(name_or_folder).expanduser().resolve() if "/" in name_or_folder else settings().data / name_or_folder


def find_agent(name: str) -> Agent:
    """The agent of that name in `agents.yaml`, of the home if it exists there, else of the data."""
    return load_agent(config_file("agents.yaml"), name)


def open_rollouts(
    session: Session,
    tasks: Sequence[RepositoryTask],
    agent: Agent,
    *,
    scope: str,
    model: str = "fugu",
    repeats: int = 1,
) -> Rollouts:
    """The rollouts of these tasks, whose calls go through the session.

    Raises IsolationUnavailable, or NotReady if no endpoint was provided.
    """
    if not _PROVIDED:
        raise NotReady("agents have no endpoint here: start the flow from its deployment, or call tasks.coding.provide")
    workshop.isolation()
    serve = _PROVIDED[0](session.ledger, session.pool)
    hides = tuple({task.folder.parent for task in tasks} | {settings().home})
    bench = Bench(agent, serve, session, scope, model, hides)
    return Rollouts(bench, [TaskSlot(task, repeat) for task in tasks for repeat in range(repeats)])


def meaning(tasks: Sequence[RepositoryTask], agent: Agent, model: str) -> str:
    """Digest of everything but policy and pool that decides the outcome of rollouts, for cache keys and epochs."""
    parts = [[task.id, task.question.digest, task.instruction, task.check] for task in tasks]
    return json_digest([parts, agent.digest, model, command.VERSION])


@task(task_run_name="roll out {label} on {name}", cache_policy=NO_CACHE, cache_result_in_memory=False, **RETRIED)
async def roll_out_task(
    label: str, name: str, rollouts: Rollouts, players: Callable[[int], Player], indices: list[int]
) -> list[RolloutEnd]:
    """Roll out a policy on one task. Calls that were paid before are read from the ledger."""
    return await rollouts.ends(players, indices)
