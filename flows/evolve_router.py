"""Stage 2: evolve the router's whole vector by sep-CMA-ES on end-to-end success.

TRINITY, arXiv 2512.04695: each generation samples λ candidates around the parent, x_i = m + σ d ∘ z_i; a candidate's
fitness is the mean terminal reward of its rollouts through real workers, with the loop's own sampling; the best half,
weighted by rank, gives the next parent. Every candidate is a task, every generation a subflow.

The run's state is its options and the log of fitnesses: a run that was killed continues after the last recorded
generation with the same population, and settled calls are read from the ledger. A run is identified by its start, its
epoch and all that is rolled out. Where one of these has changed, a new run begins, and `resume` continues the old one.

Not in the paper: the first generations move only the head, in a few directions, the others every parameter; the step
sizes are fitted so that a given share of decisions flips; with several rungs, all candidates get few rollouts and only
the better ones more; and a parent is kept only if its validation reward is higher (the search continues from its own
mean). With `agentic`, rollouts of a coding agent on repositories are slots like the questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger
from pydantic import Field

from models.digest import json_digest
from models.errors import BadInput, NotFound, RecordedWorker
from models.fugu.learn.fitness import Tally, Weights, shares, tally
from models.fugu.learn.halving import race
from models.fugu.learn.search import Search, Stage, States
from models.fugu.learn.subspace import Space
from models.fugu.router import Router
from models.fugu.vector import Vector
from models.ledger import epochs, registry, runs
from models.ledger.accounts import paid_by
from models.ledger.registry import Checkpoint
from tasks import parameters
from tasks.candidate import meet, roll_out, score_candidate
from tasks.coding import Work
from tasks.pages.evolution import EvolutionPage
from tasks.quiet import Live, flow
from tasks.setup.checkpoint import find_checkpoint
from tasks.setup.preset import EvolutionPlan, PresetName, load_preset
from tasks.setup.questions import load_set, located
from tasks.setup.router import load_router
from tasks.setup.runner import result_of
from tasks.setup.scoring import Part, Recipe
from tasks.setup.session import Session, all_ended, open_session
from tasks.setup.settings import HOUSE, settings
from tasks.thrift import knob_of

STEP_SIZE_TEXTS = 100
"""Texts for fitting the step sizes of every parameter: enough to distinguish a flip rate of 5 % from 2 % or 10 %."""

Population = NDArray[np.floating]
"""A generation's candidates, [λ, N]."""

BEGUN = "begun"
"""Kind of the checkpoint that records the start of a run."""


@flow(name="evolve-router", flow_run_name="evolve router on {pool}")
async def evolve_router(
    start: str = Field("", description="checkpoint to start from; empty: the pool's newest warm start"),
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
    agentic: str = Field("", description="folder of repository tasks to include (`repositories`: the data's)"),
    agent: str = Field("scripted", description="the agent that works on them: an entry of agents.yaml"),
    resume: str = Field("", description="name of an unfinished run to continue, from its start and in its epoch"),
) -> str:
    """Returns the id of the evolved checkpoint; it holds the start's vector if no parent was better.

    Raises NotFound if the run to resume is unknown, BadInput if it had other questions, preset, pool or agentic tasks.
    """
    plan, memory = load_preset(preset).evolution, load_preset(preset).backbone
    async with open_session(pool, max_usd) as session:
        if session.pool.is_recorded:
            raise RecordedWorker(f"pool {session.pool.name!r} has recorded scores only: it cannot be rolled out")
        questions_of = load_set(questions, load_preset(preset).questions, session.ledger).require("train", "validation")
        begun = _begun(session, resume)
        origin = find_checkpoint(session.ledger, begun["start"] if begun else start, kind="warm", pool=session.pool)
        pool_name, set_name = session.pool.name, questions_of.name
        epoch = begun["epoch"] if begun else epochs.open_epoch(session.ledger, pool_name, set_name)
        work = await asyncio.to_thread(Work.of, agentic, agent) if agentic else None
        whole = Recipe(
            session.access,
            origin.id,
            located(questions),
            load_preset(preset).questions,
            questions_of.name,
            epoch,
            ("validation",),
            plan.validation,
            seed=plan.seed,
            memory=memory,
            # Remembered states of both parts, for candidates that move only the head; together the backbone's size.
            memo_bytes=(settings().memo_bytes if memory.memo_bytes is None else memory.memo_bytes) // 2,
            work=work,
        )
        run = await asyncio.to_thread(_run, session, plan, origin, whole)
        if begun and run.name != resume:
            raise BadInput(f"run {resume} was started with other questions, preset, pool or tasks", "resume")
        _begin(run, origin, epoch)
        vector = await _evolve(run, origin.vector)
        own = await knob_of(session, run.router, vector, questions_of, load_preset(preset))
        meta = origin.meta | {"kind": "evolved", "parent": origin.id, "run": run.name, "preset": preset} | own
        return registry.save_checkpoint(session.ledger, name=f"evolved on {pool_name}", vector=vector, meta=meta)


@dataclass(frozen=True)
class Run:
    """One evolution. `name`: the run's name in the ledger."""

    name: str
    session: Session
    router: Router
    plan: EvolutionPlan
    training: Part
    validation: Part


def _run(session: Session, plan: EvolutionPlan, origin: Checkpoint, validation: Recipe) -> Run:
    """On train the policy samples, if the preset says so in random pools; on validation it decides as in serving."""
    training = replace(
        validation,
        splits=("train",),
        most=plan.questions,
        repeats=plan.repeats,
        temperature=plan.temperature,
        random_pools=plan.random_pools,
        weights=Weights(plan.diversity, plan.turns, plan.cost),
        rungs=plan.rungs,
    )
    router = load_router(origin, validation.memory)
    first, second = Part.of(training), Part.of(validation)
    meanings = [first.scoring.meaning, second.scoring.meaning]
    identity = [origin.id, *meanings, plan.model_dump(exclude={"generations"})]
    return Run(f"{session.pool.name}-{json_digest(identity)[:12]}", session, router, plan, first, second)


def _begun(session: Session, run: str) -> dict[str, Any] | None:
    """The record by `_begin` of a run to resume; `None` without one."""
    if not run:
        return None
    kept = registry.newest_checkpoint(session.ledger, kind=BEGUN, run=run)
    if kept is None:
        raise NotFound(f"this ledger has no run {run!r}")
    return kept.meta


def _begin(run: Run, origin: Checkpoint, epoch: int) -> None:
    """Record what is needed to resume the run, and warn if the pool's last run is unfinished."""
    ledger, which = run.session.ledger, {"kind": BEGUN, "pool": run.session.pool.name}
    last = registry.newest_checkpoint(ledger, **which)
    if last is not None and last.meta["run"] != run.name:
        done, total = len(runs.generations(ledger, last.meta["run"])), last.meta["generations"]
        if done < total:
            get_run_logger().warning(
                "run %s is unfinished (%d of %d generations) and is not continued: its start, epoch or rollouts differ "
                "from this run's; to continue it: resume=%s",
                last.meta["run"], done, total, last.meta["run"],
            )  # fmt: skip
    own = {"run": run.name, "start": origin.id, "epoch": epoch, "generations": run.plan.generations}
    registry.save_checkpoint(ledger, name=f"start of {run.name}", vector=origin.vector, meta=which | own)


async def _evolve(run: Run, start: Vector) -> Vector:
    """Run the remaining generations; returns the best validated parent."""
    if not run.plan.generations:
        return start
    log = runs.generations(run.session.ledger, run.name)
    search, met_turns = await _search(run, start, [row["fitnesses"] for row in log])
    get_run_logger().info(
        "run %s: %s, N %d, λ %d, %d of %d generations recorded",
        run.name, search.stage, search.dimension, search.population_size, len(log), search.generations,
    )  # fmt: skip
    judged = await _judged("the start on validation", run.validation, start)
    best, best_reward, workers = start, judged.mean_reward, run.session.pool.names
    paid = partial(paid_by, run.session.ledger, run.session.access.budget, run.training.scoring.objective.scope)
    page = await EvolutionPage.open(run.name, workers, paid, search.generations, best_reward)
    page.turns = met_turns + sum(judged.workers)
    for row in log:
        await page.add(row, show=False)
        if row["kept"]:
            best = registry.load_checkpoint(run.session.ledger, row["checkpoint"]).vector
            best_reward = row["parent"]
    while search.generation < search.generations:
        row, turns = await _generation(run, search, best_reward)
        page.turns += turns
        if row["kept"]:
            best, best_reward = search.parent, row["parent"]
        runs.tell_generation(run.session.ledger, run.name, row["generation"], row)
        await page.add(row)
    await page.close()
    return best


async def _search(run: Run, start: Vector, log: list[list[float]]) -> tuple[Search, int]:
    """The two-stage search, advanced to the end of the log, and the turns that were taken for its coordinates."""
    plan = run.plan
    # Sorted, because the order of replies differs between runs.
    met, turns = await result_of(meet, "the start on train", run.training.recipe, start)
    texts = sorted(met)
    few = texts[:: max(1, len(texts) // STEP_SIZE_TEXTS)]
    later = plan.generations - plan.subspace_generations
    head, whole = partial(_around, run, texts, plan.rank), partial(_around, run, few, 0)
    stages = [
        Stage(f"the head in {plan.rank} directions", plan.subspace_generations, head),
        Stage("every parameter", later, whole, plan.sigma or 1.0),
    ]
    return await asyncio.to_thread(Search, start, stages, plan.population, plan.seed, log), turns


def _around(run: Run, texts: list[str], rank: int, centre: Vector) -> Space:
    """A stage's coordinates. They are stored: recomputed ones, and so the candidates, could differ by rounding."""
    plan, ledger, states = run.plan, run.session.ledger, States(run.router, texts)
    # Recompute the states, so that they depend on the texts alone and not on earlier batches.
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


async def _generation(run: Run, search: Search, best_reward: float) -> tuple[dict[str, Any], int]:
    """Score, record and validate one generation; returns its row, and the turns of its rollouts."""
    number, stage, sigma = search.generation + 1, search.stage, search.sigma
    scored = await generation(run.name, number, Live(run.training), Live(search.ask()))
    await asyncio.to_thread(search.tell, scored.fitnesses)
    judged = await _judged(f"parent {number} on validation", run.validation, search.parent)
    reward = judged.mean_reward
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
    return row, sum(scored.total.workers) + sum(judged.workers)


async def _judged(label: str, validation: Part, vector: Vector) -> Tally:
    """The sums over a parent's rollouts; one that cannot be rolled out has none and a reward of 0: it is not kept."""
    scores = await result_of(roll_out, label, validation.recipe, vector)
    return tally(scores, len(validation.scoring.objective.pool.workers))


@dataclass(frozen=True)
class Scored:
    """A generation's fitnesses in the order of its candidates, and the sums over all of its rollouts.

    `whole`: the fitnesses of candidates with all of their rollouts; only these can be compared.
    """

    fitnesses: list[float]
    whole: list[float]
    total: Tally


@flow(name="generation", flow_run_name="generation {number} of {run}")
async def generation(run: str, number: int, part: Live[Part], candidates: Live[Population]) -> Scored:
    """Score the population, each candidate in a task; with several rungs only the better half reaches the next."""
    training, population = part.value, candidates.value
    scoring = training.scoring

    async def score(going: Sequence[int], part: slice) -> list[Tally]:
        shared = scoring.meaning, part.start, part.stop, number
        asked = (result_of(score_candidate, training.recipe, population[i], *shared, i) for i in going)
        return await all_ended(*asked)

    slots = len(scoring.objective.slots)
    fitnesses, totals = await race(len(population), slots, scoring.rungs, score, scoring.fitness)
    whole = [fitness for fitness, total in zip(fitnesses, totals, strict=True) if total.rollouts == slots]
    # If there are none, no candidate could be rolled out.
    return Scored(fitnesses, whole or fitnesses, reduce(add, totals))
