"""Stage 2: evolve the router's whole vector by sep-CMA-ES on end-to-end success.

Seed 000, section 3.2: each generation samples λ candidates around the parent, x_i = m + σ d ∘ z_i; a candidate's
fitness is the mean terminal reward of its rollouts through real workers, with the loop's own sampling; the best
half, weighted by rank, makes the next parent. Every candidate is a task, a generation a subflow. The run's state
is its options and the log of told fitnesses: a run that was killed continues from the last told generation with
the very same population, and every call that was settled is read from the ledger. It is told by its identity: the
start, the epoch and all that is rolled out. Where one of these is another by now (a newer warm start, an epoch that
`refresh-labels` opened), a new run begins, and the log names the unfinished one; `resume` goes on with that.

Beyond the paper: the first generations move the head alone, in a few directions, the others every parameter; the
steps' scales are found such that a share of the decisions flip; few rollouts first and more for the promising, if
the preset says so; and the parent is kept only where a validation part says so (the search itself goes on from its
own mean). With `agentic`, rollouts of a coding agent on repositories are slots like the questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from prefect import get_run_logger
from pydantic import Field

from models.digest import json_digest
from models.errors import BadInput, NotFound, RecordedWorker
from models.fugu.learn.fitness import Tally, shares, tally
from models.fugu.learn.halving import race
from models.fugu.learn.search import Search, Stage, States
from models.fugu.learn.subspace import Space
from models.fugu.router import Router
from models.fugu.vector import Vector
from models.ledger import epochs, registry, runs
from models.ledger.accounts import paid_by
from models.ledger.registry import Checkpoint
from tasks.candidate import SCORING, Scoring, meet, roll_out, score_candidate
from tasks.coding import find_agent, find_tasks
from tasks.pages.evolution import EvolutionPage
from tasks.quiet import flow
from tasks.setup.checkpoint import find_checkpoint
from tasks.setup.preset import EvolutionPlan, PresetName, load_preset
from tasks.setup.questions import load_set
from tasks.setup.router import load_router
from tasks.setup.scoring import AgenticWork, open_scoring
from tasks.setup.session import Session, all_ended, open_session
from tasks.setup.settings import HOUSE, settings

STEP_SIZE_TEXTS = 100
"""Enough to tell a flip rate of 5 % from 2 % or 10 %; the scales of every parameter need no more."""

BEGUN = "begun"
"""The kind of the checkpoint that says from what a run was begun."""

POPULATION: ContextVar[np.ndarray] = ContextVar("population")
"""The candidates of the generation under way, [λ, N]: too large for a flow's parameters."""


@flow(name="evolve-router", flow_run_name="evolve router on {pool}")
async def evolve_router(
    start: str = Field("", description="checkpoint to start from; empty: the pool's newest warm start"),
    pool: str = "house",
    questions: str = HOUSE,
    preset: PresetName = "first-light",
    max_usd: float = Field(0.0, ge=0, description="spending limit of this run in USD"),
    agentic: str = Field("", description="a folder of repositories' tasks that count too (`repositories`: the data's)"),
    agent: str = Field("scripted", description="who works on them: an entry of agents.yaml"),
    resume: str = Field("", description="an unfinished run's name: goes on from its start and in its epoch"),
) -> str:
    """Returns the id of the evolved checkpoint; it holds the start's own vector where no parent was better.

    Raises NotFound for a run to resume that was never begun here, BadInput for one of other questions, preset, pool or
    agentic tasks.
    """
    plan, memory = load_preset(preset).evolution, load_preset(preset).backbone
    async with open_session(pool, max_usd) as session:
        if session.pool.is_recorded:
            raise RecordedWorker(f"pool {session.pool.name!r} is known from recorded scores: it cannot be rolled out")
        questions_of = load_set(questions, load_preset(preset).questions, session.ledger).require("train", "validation")
        begun = _begun(session, resume)
        origin = find_checkpoint(session.ledger, begun["start"] if begun else start, kind="warm", pool=session.pool)
        newest = epochs.open_epoch(session.ledger, session.pool.name, questions_of.name)
        epoch = begun["epoch"] if begun else newest
        router = await asyncio.to_thread(load_router, origin, memory)
        work = AgenticWork(find_tasks(agentic), find_agent(agent)) if agentic else None
        # What both parts remember for candidates that move the head alone: together as much as the backbone does.
        memo_bytes = (settings().memo_bytes if memory.memo_bytes is None else memory.memo_bytes) // 2
        part = partial(open_scoring, session, router, questions_of, epoch, plan, work, memo_bytes)
        training, validation = part("train"), part("validation")
        identity = [origin.id, training.meaning, validation.meaning, plan.model_dump(exclude={"generations"})]
        run = Run(f"{session.pool.name}-{json_digest(identity)[:12]}", session, router, plan, training, validation)
        if begun and run.name != resume:
            raise BadInput(f"run {resume} was begun with other questions, preset, pool or tasks than these", "resume")
        _begin(run, origin, epoch)
        vector = await _evolve(run, origin.vector)
        meta = origin.meta | {"kind": "evolved", "parent": origin.id, "run": run.name, "preset": preset}
        name = f"evolved on {session.pool.name}"
        return registry.save_checkpoint(session.ledger, name=name, vector=vector, meta=meta)


@dataclass(frozen=True)
class Run:
    """What one evolution works on. `name`: of its rows in the ledger."""

    name: str
    session: Session
    router: Router
    plan: EvolutionPlan
    training: Scoring
    validation: Scoring


def _begun(session: Session, run: str) -> dict[str, Any] | None:
    """What `_begin` kept of a run that is to be resumed."""
    if not run:
        return None
    kept = registry.newest_checkpoint(session.ledger, kind=BEGUN, run=run)
    if kept is None:
        raise NotFound(f"no run {run!r} was begun here")
    return kept.meta


def _begin(run: Run, origin: Checkpoint, epoch: int) -> None:
    """Keep what it takes to resume the run; say which unfinished one is left behind by it."""
    ledger, which = run.session.ledger, {"kind": BEGUN, "pool": run.session.pool.name}
    last = registry.newest_checkpoint(ledger, **which)
    if last is not None and last.meta["run"] != run.name:
        told, all_told = len(runs.generations(ledger, last.meta["run"])), last.meta["generations"]
        if told < all_told:
            get_run_logger().warning(
                "run %s is unfinished (%d of %d generations told) and is not continued: its start, its epoch or what "
                "it rolls out is not this run's; to go on with it: resume=%s",
                last.meta["run"], told, all_told, last.meta["run"],
            )  # fmt: skip
    own = {"run": run.name, "start": origin.id, "epoch": epoch, "generations": run.plan.generations}
    registry.save_checkpoint(ledger, name=f"start of {run.name}", vector=origin.vector, meta=which | own)


async def _evolve(run: Run, start: Vector) -> Vector:
    """Ask, score, tell, until the last generation; returns the best validated parent."""
    if not run.plan.generations:
        return start
    log = runs.generations(run.session.ledger, run.name)
    search = await _search(run, start, [row["fitnesses"] for row in log])
    get_run_logger().info(
        "run %s: %s, N %d, λ %d, %d of %d generations told",
        run.name, search.stage, search.dimension, search.population_size, len(log), search.generations,
    )  # fmt: skip
    best, best_reward = start, await _reward("the start on validation", run.validation, start)
    objectives, workers = (run.training.objective, run.validation.objective), run.session.pool.names
    paid = partial(paid_by, run.session.ledger, run.session.dispatcher.owner, run.training.objective.scope)
    page = await EvolutionPage.open(run.name, workers, objectives, paid, search.generations, best_reward)
    for row in log:
        await page.add(row, show=False)
        if row["kept"]:
            best = registry.load_checkpoint(run.session.ledger, row["checkpoint"]).vector
            best_reward = row["parent"]
    SCORING.set(run.training)
    while search.generation < search.generations:
        row = await _generation(run, search, best_reward)
        if row["kept"]:
            best, best_reward = search.parent, row["parent"]
        runs.tell_generation(run.session.ledger, run.name, row["generation"], row)
        await page.add(row)
    return best


async def _search(run: Run, start: Vector, log: list[list[float]]) -> Search:
    """The two stages, led to where the log ends."""
    plan = run.plan
    # In an order of their own: that in which replies came is another in every run.
    texts = sorted(await meet("the start on train", run.training, start))
    few = texts[:: max(1, len(texts) // STEP_SIZE_TEXTS)]
    later = plan.generations - plan.subspace_generations
    head, whole = partial(_around, run, texts, plan.rank), partial(_around, run, few, 0)
    stages = [
        Stage(f"the head in {plan.rank} directions", plan.subspace_generations, head),
        Stage("every parameter", later, whole, plan.sigma or 1.0),
    ]
    return await asyncio.to_thread(Search, start, stages, plan.population, plan.seed, log)


def _around(run: Run, texts: list[str], rank: int, centre: Vector) -> Space:
    """A stage's coordinates. They are kept: computed again they, and so the points, could differ by a rounding."""
    plan, ledger, states = run.plan, run.session.ledger, States(run.router, texts)
    # Computed afresh, so that they hang on the texts alone and not on what was in one batch with them before.
    run.router.backbone.forget()
    space = states.space(centre, rank)
    if plan.sigma and not rank:
        return space
    what = {"kind": "space", "run": run.name, "rank": str(rank)}
    kept = registry.newest_checkpoint(ledger, **what)
    if kept is None:
        rates = {"offsets": plan.flip_rate, "workers": plan.flip_rate, "roles": plan.role_flip_rate}
        packed = space.fitted(states.decide, rates, plan.seed).packed()
        name = f"space of rank {rank}" if rank else "space of every parameter"
        kept = registry.load_checkpoint(ledger, registry.save_checkpoint(ledger, name=name, vector=packed, meta=what))
    return space.unpacked(kept.vector)


async def _generation(run: Run, search: Search, best_reward: float) -> dict[str, Any]:
    """One generation scored, told and validated; returns its row."""
    number, stage, sigma = search.generation + 1, search.stage, search.sigma
    POPULATION.set(search.ask())
    scored = await generation(run.name, number)
    await asyncio.to_thread(search.tell, scored.fitnesses)
    reward = await _reward(f"parent {number} on validation", run.validation, search.parent)
    row = {
        "generation": number,
        "stage": stage,
        "sigma": sigma,
        "fitnesses": scored.fitnesses,
        "best": max(scored.whole),
        "mean": float(np.mean(scored.whole)),
        "parent": reward,
        "kept": reward > best_reward,
        "shares": shares(scored.total.workers).tolist(),
        "roles": shares(scored.total.roles).tolist(),
        "turns": scored.total.mean_turns,
        "rollouts": scored.total.rollouts,
    }
    if row["kept"]:
        meta = {"kind": "parent", "run": run.name, "generation": number}
        name = f"parent {number}"
        row["checkpoint"] = registry.save_checkpoint(run.session.ledger, name=name, vector=search.parent, meta=meta)
    return row


async def _reward(label: str, validation: Scoring, vector: Vector) -> float:
    """The mean reward; 0 of a parent that cannot be rolled out, so that none of them is kept."""
    scores = await roll_out(label, validation.objective, vector)
    return tally(scores, len(validation.objective.pool.workers)).mean_reward


@dataclass(frozen=True)
class Scored:
    """A generation's fitnesses, in the order of its candidates, and the sums over all of its rollouts.

    `whole`: the fitnesses of those that had all of their rollouts, which alone can be compared with one another's.
    """

    fitnesses: list[float]
    whole: list[float]
    total: Tally


@flow(name="generation", flow_run_name="generation {number} of {run}")
async def generation(run: str, number: int) -> Scored:
    """Score the population, each candidate a task; with several rungs only the better half goes on to the next."""
    scoring, population = SCORING.get(), POPULATION.get()

    async def score(going: Sequence[int], part: slice) -> list[Tally]:
        asked = (score_candidate(population[i], scoring.meaning, part.start, part.stop, number, i) for i in going)
        return await all_ended(*asked)

    slots = len(scoring.objective.slots)
    fitnesses, totals = await race(len(population), slots, scoring.rungs, score, scoring.fitness)
    whole = [told for told, total in zip(fitnesses, totals, strict=True) if total.rollouts == slots]
    # Without any, no candidate could be rolled out at all.
    return Scored(fitnesses, whole or fitnesses, reduce(add, totals))
