"""Compare workers and a router as the model of a coding agent on repositories, the second kind of terminal reward.

Every (policy, task, repeat) is a rollout: the agent works on a copy of the repository in a sandbox whose only network
access is this project's endpoint, where the policy answers; then the task's command scores it 1 or 0. `evolve_router`
can include the same rollouts in its fitness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

from prefect import get_run_logger
from pydantic import Field

from models.coding.rollouts import RolloutEnd, Rollouts
from models.ledger import epochs
from tasks import parameters
from tasks.coding import Arena, Work, find_agent, meaning, roll_out_task, rollouts_of
from tasks.pages.report import publish
from tasks.quiet import flow
from tasks.setup.checkpoint import find_checkpoint
from tasks.setup.runner import result_of
from tasks.setup.session import Session, all_ended, open_session
from tasks.setup.settings import HOUSE
from tasks.setup.texts import shown

KEY = "agentic-rollouts"

Policy = tuple[str, str]
"""A worker, or the id of a router's checkpoint; the other one is empty."""


@flow(name="agentic-rollouts", flow_run_name="{agent} on {repositories}, asking {pool}")
async def agentic_rollouts(
    pool: str = Field(HOUSE, description=parameters.POOL),
    repositories: str = Field("repositories", description="a folder of tasks, or the name of one in the data"),
    agent: str = Field("scripted", description="an entry of agents.yaml"),
    model: Literal["fugu", "trinity"] = Field("fugu", description="what the agent calls: one worker, or the loop"),
    checkpoint: str = Field("", description="a router; `warm` or `evolved`: the pool's newest; empty: none"),
    repeats: int = Field(1, gt=0, description="how often each worker works on each task"),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> dict[str, dict[str, float]]:
    """Roll out every policy on every task; returns policy -> task -> mean reward over the repeats."""
    async with open_session(pool, max_usd) as session:
        work = await asyncio.to_thread(Work.of, repositories, agent)
        asked = meaning(work.tasks(), find_agent(agent), model)
        epoch = epochs.open_epoch(session.ledger, session.pool.name, asked)
        arena = Arena(session.access, work, epochs.scope_of(epoch), model, repeats)
        rollouts = await asyncio.to_thread(rollouts_of, arena)
        policies = {name: (name, "") for name in session.pool.names} | _router(session, checkpoint)
        ends = {name: await _ends(name, arena, rollouts, policy) for name, policy in policies.items()}
    for name, found in ends.items():
        get_run_logger().info("%s: R %.3f", name, sum(end.reward for end in found) / len(found))
    best = max(ends, key=lambda name: sum(end.reward for end in ends[name]) / len(ends[name]))
    happened = f"{agent} did best on {repositories} with {best}. "
    happened += "`evolve-router/improve-router` with `agentic` lets a router learn from such work."
    await publish(KEY, happened, _page(rollouts, ends))
    return {name: _means(rollouts, found) for name, found in ends.items()}


def _router(session: Session, checkpoint: str) -> dict[str, Policy]:
    """The router of the given checkpoint, deciding as in serving; empty without one."""
    if not checkpoint:
        return {}
    newest = checkpoint in ("warm", "evolved")
    kind = checkpoint if newest else "evolved"
    found = find_checkpoint(session.ledger, "" if newest else checkpoint, kind=kind, pool=session.pool)
    return {f"router {found.id[:12]}": ("", found.id)}


async def _ends(label: str, arena: Arena, rollouts: Rollouts, policy: Policy) -> list[RolloutEnd]:
    """A policy's rollouts in the order of the slots, one Prefect task per repository task."""
    indices: dict[str, list[int]] = {}
    for index, slot in enumerate(rollouts.slots):
        indices.setdefault(slot.task.id, []).append(index)
    asked = (result_of(roll_out_task, label, name, arena, *policy, mine) for name, mine in indices.items())
    return [end for ends in await all_ended(*asked) for end in ends]


def _means(rollouts: Rollouts, ends: Sequence[RolloutEnd]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for slot, end in zip(rollouts.slots, ends, strict=True):
        found.setdefault(slot.task.id, []).append(end.reward)
    return {name: sum(rewards) / len(rewards) for name, rewards in found.items()}


def _page(rollouts: Rollouts, ends: Mapping[str, Sequence[RolloutEnd]]) -> list[str]:
    """A table of rewards, one row per policy, and the failed rollouts, with the agents' last lines where texts may be
    shown."""
    tasks = list(dict.fromkeys(slot.task.id for slot in rollouts.slots))
    lines = ["| | R | calls | USD | " + " | ".join(tasks) + " |", "|" + "---|" * (len(tasks) + 4)]
    said = []
    for name, found in ends.items():
        means = _means(rollouts, found)
        mean, calls = sum(end.reward for end in found) / len(found), sum(end.calls for end in found)
        cells = [name, f"{mean:.3f}", str(calls), f"{sum(end.cost_usd for end in found):.4f}"]
        lines.append("| " + " | ".join([*cells, *(f"{means[task]:.2f}" for task in tasks)]) + " |")
        for slot, end in zip(rollouts.slots, found, strict=True):
            if end.reward < 1:
                words = f": {_line(end.detail)}; {_line(end.agent)}" if shown() else ""
                said.append(f"- {name}, {slot.task.id}, repeat {slot.repeat}{words}")
    return ["\n".join(lines), "## Failures", "\n".join(said)]


def _line(text: str) -> str:
    return " ".join(text.split())[-200:]
