"""Rollouts of coding agents on repositories: the tasks, the agent, and the endpoint that it calls.

The endpoint belongs to a layer above tasks, so that layer provides it (`provide`, called in `deployments/agentic.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from prefect.cache_policies import NO_CACHE

from models.coding.agent import Agent, load_agent
from models.coding.mixture import players
from models.coding.rollouts import Bench, Player, RolloutEnd, Rollouts, Serve, TaskSlot, constant
from models.digest import json_digest
from models.errors import NotReady
from models.grading import command
from models.grading.repository import RepositoryTask, load_tasks
from models.isolation import workshop
from models.ledger import registry
from models.ledger.store import Ledger
from models.workers.pool import Pool
from tasks.caching import RETRIED
from tasks.quiet import task
from tasks.setup.asking import Asking
from tasks.setup.process import built_once, on_loop
from tasks.setup.router import load_router
from tasks.setup.session import Access, pool_of
from tasks.setup.settings import config_file, open_ledger, settings

ServerOf = Callable[[Ledger, Pool], Serve]

_PROVIDED: list[str] = []


def provide(server_of: ServerOf) -> None:
    """Set the endpoint that serves candidates to agents, a function of a module; a later call replaces it."""
    _PROVIDED[:] = [f"{server_of.__module__}:{server_of.__qualname__}"]


def find_tasks(name_or_folder: str) -> list[RepositoryTask]:
    """The tasks in a folder, or in the data folder of that name. Raises BadFile for a folder that cannot be used."""
    return load_tasks(_folder(name_or_folder))


def _folder(name_or_folder: str) -> Path:
    return Path(name_or_folder).expanduser().resolve() if "/" in name_or_folder else settings().data / name_or_folder


def find_agent(name: str) -> Agent:
    """The agent of that name in `agents.yaml`, of the home if it exists there, else of the data."""
    return load_agent(config_file("agents.yaml"), name)


@dataclass(frozen=True)
class Work:
    """Repository tasks and the agent that works on them, as a value from which any process opens their rollouts.

    `server`: "module:function" of the endpoint that the agent calls.
    """

    repositories: str
    agent: str
    server: str

    @classmethod
    def of(cls, repositories: str, agent: str) -> Work:
        """Raises BadFile for a folder that cannot be used, IsolationUnavailable, NotReady without an endpoint."""
        if not _PROVIDED:
            raise NotReady(
                "agents have no endpoint here: start the flow from its deployment, or call tasks.coding.provide"
            )
        workshop.isolation()
        find_agent(agent)
        find_tasks(repositories)
        return cls(str(_folder(repositories)), agent, _PROVIDED[0])

    def tasks(self, *splits: str) -> list[RepositoryTask]:
        """The tasks of these splits; without any, all tasks."""
        return [task for task in find_tasks(self.repositories) if not splits or task.question.split in splits]

    def open(
        self,
        access: Access,
        ledger: Ledger,
        pool: Pool,
        scope: str,
        repeats: int = 1,
        splits: Sequence[str] = (),
        model: str = "fugu",
    ) -> Rollouts:
        """The rollouts of the tasks of these splits. `scope`: of their calls; `model`: what the agent asks for."""
        tasks, (module, _, name) = self.tasks(*splits), self.server.partition(":")
        serve: Serve = getattr(import_module(module), name)(ledger, pool)
        hides = tuple({task.folder.parent for task in tasks} | {settings().home})
        bench = Bench(find_agent(self.agent), serve, Asking(access), scope, model, hides)
        return Rollouts(bench, [TaskSlot(task, repeat) for task in tasks for repeat in range(repeats)])


@dataclass(frozen=True)
class Arena:
    """Rollouts of all tasks as a value; see `Work.open`."""

    access: Access
    work: Work
    scope: str
    model: str
    repeats: int


@built_once(maxsize=2)
def rollouts_of(arena: Arena) -> Rollouts:
    """The arena's rollouts, opened at the first use in this process."""
    pool = pool_of(arena.access)
    return arena.work.open(arena.access, open_ledger(), pool, arena.scope, arena.repeats, model=arena.model)


def meaning(tasks: Sequence[RepositoryTask], agent: Agent, model: str) -> str:
    """Digest of everything but policy and pool that decides the outcome of rollouts, for cache keys and epochs."""
    parts = [[task.id, task.question.digest, task.instruction, task.check] for task in tasks]
    return json_digest([parts, agent.digest, model, command.VERSION])


@task(task_run_name="roll out {label} on {name}", cache_policy=NO_CACHE, **RETRIED)
async def roll_out_task(
    label: str, name: str, arena: Arena, worker: str, checkpoint: str, indices: list[int]
) -> list[RolloutEnd]:
    """Roll out a policy, one worker or else a checkpoint's router, on one task."""
    rollouts = await asyncio.to_thread(rollouts_of, arena)
    playing = await asyncio.to_thread(_policy, rollouts, arena, worker, checkpoint)
    return await on_loop(rollouts.ends(playing, indices))


def _policy(rollouts: Rollouts, arena: Arena, worker: str, checkpoint: str) -> Callable[[int], Player]:
    if worker:
        return constant(pool_of(arena.access).names, worker)
    ledger = open_ledger()
    router = load_router(registry.load_checkpoint(ledger, checkpoint))
    ledger.close()
    return players(router, router.vector, 0.0, rollouts, seed=0)
