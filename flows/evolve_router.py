"""Stage 2: evolve the router's whole vector by sep-CMA-ES on end-to-end success.

Seed 000, section 3.2: each generation samples λ candidates around the parent, x_i = m + σ d ∘ z_i; a candidate's
fitness is the mean terminal reward of its rollouts through real workers, with the loop's own sampling; the best
half, weighted by rank, makes the next parent. Every candidate is a task, a generation a subflow. The run's state
is its options and the log of told fitnesses: a run that was killed continues from the last told generation with
the very same population, and every call that was settled is read from the ledger.

Beyond the paper: the first generations move the head alone, in a few directions, the others every parameter; the
steps' scales are found such that a share of the decisions flip; few rollouts first and more for the promising, if
the preset says so; and the parent is kept only where a validation part says so (the search itself goes on from its
own mean). With `agentic`, rollouts of a coding agent on repositories are slots like the questions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from prefect import flow, get_run_logger
from pydantic import Field

from models.errors import RecordedWorker
from models.fugu.agent import Agent
from models.fugu.fitness import Tally, Weights, shares
from models.fugu.halving import race
from models.fugu.loop import LoopOptions
from models.fugu.mixture import Mixture, Rewarding
from models.fugu.objective import Objective, Slot
from models.fugu.roles import PROMPTS_VERSION
from models.fugu.router import Router
from models.fugu.search import Search, Stage, States
from models.fugu.subspace import Space
from models.fugu.vector import Vector
from models.grading.grade import version
from models.grading.repository import RepositoryTask
from models.ledger import epochs, registry, runs
from tasks.agents import find_agent, find_tasks, open_rollouts
from tasks.agents import meaning as agentic_meaning
from tasks.candidate import SCORING, Scoring, meet, roll_out, score_candidate
from tasks.checkpoint import find_checkpoint
from tasks.evolution import EvolutionPage, paid
from tasks.preset import EvolutionPlan, PresetName, load_preset
from tasks.questions import HOUSE, QuestionSet, load_set
from tasks.route import load_router
from tasks.session import Session, all_ended, open_session

CONCURRENT_CANDIDATES = 64
"""As many as may wait for shared forwards (models/fugu/tree.py); the pass that computes them bounds its own memory."""

STEP_SIZE_TEXTS = 100
"""Enough to tell a flip rate of 5 % from 2 % or 10 %; the scales of every parameter need no more."""

POPULATION: ContextVar[np.ndarray] = ContextVar("population")
"""The candidates of the generation under way, [λ, N]: too large for a flow's parameters."""


@flow(name="evolve-router", flow_run_name="evolve router on {pool}")
async def evolve_router(
    start: str = Field("", description="checkpoint to start from; empty: the pool's newest warm start"),
    pool: str = "house",
    questions: str = HOUSE,
    preset: PresetName = "first-light",
    max_usd: float = Field(0.0, ge=0, description="the most that this run may spend"),
    agentic: str = Field("", description="a folder of repositories' tasks that count too (`repositories`: the data's)"),
    agent: str = Field("scripted", description="who works on them: an entry of agents.yaml"),
) -> str:
    """Returns the id of the evolved checkpoint; it holds the start's own vector where no parent was better."""
    plan = load_preset(preset).evolution
    async with open_session(pool, max_usd) as session:
        if session.pool.is_recorded:
            raise RecordedWorker(f"pool {session.pool.name!r} is known from recorded scores: it cannot be rolled out")
        questions_of = load_set(questions, load_preset(preset).questions, session.ledger).require("train", "validation")
        origin = find_checkpoint(session.ledger, start, kind="warm", pool=session.pool)
        router = await asyncio.to_thread(load_router, origin, load_preset(preset).backbone)
        work = AgenticWork(find_tasks(agentic), find_agent(agent)) if agentic else None
        training = _scoring(session, router, questions_of, plan, "train", work)
        validation = _scoring(session, router, questions_of, plan, "validation", work)
        identity = [origin.id, training.meaning, validation.meaning, plan.model_dump(exclude={"generations"})]
        run = Run(f"{session.pool.name}-{_digest(identity)[:12]}", session, router, plan, training, validation)
        vector = await _evolve(run, origin.vector)
        meta = origin.meta | {"kind": "evolved", "parent": origin.id, "run": run.name, "preset": preset}
        name = f"evolved on {session.pool.name}"
        return registry.save_checkpoint(session.ledger, name=name, vector=vector, meta=meta)


@dataclass(frozen=True)
class AgenticWork:
    """Repositories' tasks, and the agent that works on them."""

    tasks: list[RepositoryTask]
    agent: Agent

    def of(self, split: str) -> list[RepositoryTask]:
        """The tasks of one part."""
        return [task for task in self.tasks if task.question.split == split]


@dataclass(frozen=True)
class Run:
    """What one evolution works on. `name`: of its rows in the ledger."""

    name: str
    session: Session
    router: Router
    plan: EvolutionPlan
    training: Scoring
    validation: Scoring


async def _evolve(run: Run, start: Vector) -> Vector:
    """Ask, score, tell, until the last generation; returns the best validated parent."""
    if not run.plan.generations:
        return start
    log = runs.generations(run.session.ledger, run.name)
    objectives = run.training.objective, run.validation.objective
    before = await paid(run.session, objectives)
    search = await _search(run, start, [row["fitnesses"] for row in log])
    get_run_logger().info(
        "run %s: %s, N %d, λ %d, %d of %d generations told",
        run.name, search.stage, search.dimension, search.population_size, len(log), search.generations,
    )  # fmt: skip
    best, best_reward = start, await _reward("the start on validation", run.validation, start)
    page = await EvolutionPage.open(run.name, run.session, objectives, search.generations, best_reward, before)
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
        "best": max(scored.fitnesses),
        "mean": float(np.mean(scored.fitnesses)),
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
    return float(np.mean([score.reward for score in await roll_out(label, validation.objective, vector)]))


@dataclass(frozen=True)
class Scored:
    """A generation's fitnesses, in the order of its candidates, and the sums over all of its rollouts."""

    fitnesses: list[float]
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
    return Scored(fitnesses, reduce(add, totals))


def _scoring(
    session: Session,
    router: Router,
    questions_of: QuestionSet,
    plan: EvolutionPlan,
    split: str,
    work: AgenticWork | None = None,
) -> Scoring:
    """The slots of one part: train is sampled by the policy, validation is decided as in serving."""
    train = split == "train"
    count, repeats = (plan.questions, plan.repeats) if train else (plan.validation, 1)
    chosen = questions_of.split(split)[:count]
    epoch = epochs.open_epoch(session.ledger, session.pool.name, questions_of.name)
    options = LoopOptions()
    temperature = plan.temperature if train else 0.0
    meaning = {
        "backbone": [router.backbone.digest, str(router.backbone.memo_dtype)],
        "layout": router.layout.name,
        "loop": [options.turns, options.roles, PROMPTS_VERSION],
        "epoch": epochs.identity(session.ledger, epoch),
        "slots": [[q.id, version(q.grader)] for q in chosen],
        "repeats": repeats,
        "pool": session.pool.fingerprint,
        "policy": [temperature, plan.seed],
    }
    questions = Objective(
        router,
        session.pool,
        [Slot(q, repeat) for q in chosen for repeat in range(repeats)],
        session.dispatcher.ask_all,
        scope=f"measure:{epoch}",
        options=options,
        policy_seed=plan.seed,
    )
    objective: Rewarding = questions
    if work is not None and (tasks := work.of(split)):
        rollouts = open_rollouts(session, tasks, work.agent, scope=questions.scope, repeats=repeats)
        objective = Mixture(questions, rollouts, plan.seed)
        meaning["agentic"] = agentic_meaning(tasks, work.agent, rollouts.bench.model)
    return Scoring(
        objective=objective,
        weights=Weights(plan.diversity, plan.turns, plan.cost) if train else Weights(),
        temperature=temperature,
        rungs=plan.rungs if train else 1,
        meaning=_digest(meaning),
        turn=asyncio.Semaphore(CONCURRENT_CANDIDATES),
    )


def _digest(meaning: Any) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
