"""Stage 2: evolve the router's whole vector by sep-CMA-ES on end-to-end success.

Seed 000, section 3.2: each generation samples λ candidates around the parent, x_i = m + σ d ∘ z_i; a candidate's
fitness is the mean terminal reward of its rollouts through real workers, with the loop's own sampling; the best
half, weighted by rank, makes the next parent. Every candidate is a task, a generation a subflow. The run's state
is its options and the log of told fitnesses: a run that was killed continues from the last told generation with
the very same population, and every call that was settled is read from the ledger.

Beyond the paper: the parent is kept only where a validation part says so (the search itself goes on from its own
mean), and σ0 is found such that about 5 % of the decisions flip.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextvars import ContextVar
from typing import Any

import numpy as np
from prefect import flow, get_run_logger
from pydantic import Field

from models.fugu.backbone import share_cores
from models.fugu.evolution import Evolution, EvolutionOptions, step_size_for_flips
from models.fugu.fitness import Weights
from models.fugu.loop import LoopOptions
from models.fugu.objective import Objective, Slot
from models.fugu.roles import PROMPTS_VERSION
from models.fugu.router import Router
from models.fugu.vector import Vector
from models.grading.grade import version
from models.ledger import epochs, registry, runs
from tasks.candidate import SCORING, CandidateScore, Scoring, roll_out, score_candidate
from tasks.checkpoint import find_checkpoint
from tasks.preset import EvolutionPlan, PresetName, load_preset
from tasks.questions import HOUSE, QuestionSet, load_set
from tasks.report import Progress, fitness_artifacts
from tasks.route import load_router
from tasks.session import Session, all_ended, open_session

CONCURRENT_CANDIDATES = 2
"""A candidate is forwards (one core) and asks in turn: two keep both busy."""

STEP_SIZE_SLOTS = 200
"""Enough to tell a flip rate of 5 % from 2 % or 10 %; σ0 needs no more."""

POPULATION: ContextVar[np.ndarray] = ContextVar("population")
"""The candidates of the generation under way, [λ, N]: too large for a flow's parameters."""


@flow(name="evolve-router", flow_run_name="evolve router on {pool}")
async def evolve_router(
    start: str = Field("", description="checkpoint to start from; empty: the pool's newest warm start"),
    pool: str = "house",
    questions: str = HOUSE,
    preset: PresetName = "first-light",
    max_usd: float = Field(0.0, ge=0, description="the most that this run may spend"),
) -> str:
    """Returns the id of the evolved checkpoint; it holds the start's own vector where no parent was better."""
    plan = load_preset(preset)
    async with open_session(pool, max_usd) as session:
        questions_of = load_set(questions, plan.questions, session.ledger).require("train", "validation")
        origin = find_checkpoint(session.ledger, start, kind="warm", pool=session.pool)
        router = await asyncio.to_thread(load_router, origin)
        share_cores(CONCURRENT_CANDIDATES)
        training = _scoring(session, router, questions_of, plan.evolution, "train")
        validation = _scoring(session, router, questions_of, plan.evolution, "validation")
        sigma = plan.evolution.sigma or await asyncio.to_thread(step_size, router, training.objective, plan.evolution)
        run = (
            f"{session.pool.name}-"
            + _digest(
                [
                    origin.id,
                    sigma,
                    training.meaning,
                    validation.meaning,
                    plan.evolution.model_dump(exclude={"generations"}),
                ]
            )[:12]
        )
        vector = await _evolve(session, run, router.vector, sigma, training, validation, plan.evolution)
        meta = origin.meta | {"kind": "evolved", "parent": origin.id, "run": run, "preset": preset}
        name = f"evolved on {session.pool.name}"
        return registry.save_checkpoint(session.ledger, name=name, vector=vector, meta=meta)


async def _evolve(
    session: Session,
    run: str,
    start: Vector,
    sigma: float,
    training: Scoring,
    validation: Scoring,
    plan: EvolutionPlan,
) -> Vector:
    """Ask, score, tell, until the last generation; returns the best validated parent."""
    told = runs.generations(session.ledger, run)
    options = EvolutionOptions(sigma, plan.population, plan.seed)
    search = await asyncio.to_thread(Evolution, start, options, [row["fitnesses"] for row in told])
    get_run_logger().info(
        "run %s: N %d, λ %d, σ0 %.3g, %d of %d generations told",
        run, len(start), search.population_size, sigma, len(told), plan.generations,
    )  # fmt: skip
    progress = await Progress.start("evolution", plan.generations * search.population_size)
    await progress.add(len(told) * search.population_size)
    best, best_reward = start, await _reward("the start on validation", validation, start)
    history: list[dict[str, Any]] = [{"generation": 0, "parent": best_reward, "kept": True, "sigma": sigma}]
    for row in told:
        history.append(row)
        if row["kept"]:
            best, best_reward = (
                registry.load_checkpoint(session.ledger, row["checkpoint"]).vector,
                row["parent"],
            )
    SCORING.set(training)
    while search.generation < plan.generations:
        number = search.generation + 1
        POPULATION.set(search.ask())
        scores = await generation(run, number)
        search.tell([s["fitness"] for s in scores])
        parent = search.parent.astype(np.float32)
        reward = await _reward(f"parent {number} on validation", validation, parent)
        row = _row(number, scores, reward, reward > best_reward, search.sigma)
        if row["kept"]:
            best, best_reward = parent, reward
            meta = {"kind": "parent", "run": run, "generation": number}
            row["checkpoint"] = registry.save_checkpoint(
                session.ledger, name=f"parent {number}", vector=parent, meta=meta
            )
        runs.tell_generation(session.ledger, run, number, row)
        history.append(row)
        await progress.add(search.population_size)
        await fitness_artifacts(history, session.pool.names)
    return best


async def _reward(label: str, validation: Scoring, vector: Vector) -> float:
    return float(np.mean([score.reward for score in await roll_out(label, validation.objective, vector)]))


@flow(name="generation", flow_run_name="generation {number} of {run}")
async def generation(run: str, number: int) -> list[CandidateScore]:
    """Score the population, each candidate a task."""
    scoring = SCORING.get()
    return await all_ended(*(score_candidate(x, scoring.meaning, number, i) for i, x in enumerate(POPULATION.get())))


def _row(number: int, scores: list[CandidateScore], parent: float, kept: bool, sigma: float) -> dict[str, Any]:
    fitnesses = [s["fitness"] for s in scores]
    return {
        "generation": number,
        "fitnesses": fitnesses,
        "best": max(fitnesses),
        "mean": float(np.mean(fitnesses)),
        "parent": parent,
        "kept": kept,
        "sigma": sigma,
        "shares": np.mean([s["shares"] for s in scores], axis=0).tolist(),
        "turns": float(np.mean([s["mean_turns"] for s in scores])),
    }


def _scoring(session: Session, router: Router, questions_of: QuestionSet, plan: EvolutionPlan, split: str) -> Scoring:
    """The slots of one part: train is sampled by the policy, validation is decided as in serving."""
    train = split == "train"
    count, repeats = (plan.questions, plan.repeats) if train else (plan.validation, 1)
    chosen = questions_of.split(split)[:count]
    epoch = epochs.open_epoch(session.ledger, session.pool.name, questions_of.name)
    options = LoopOptions()
    meaning = {
        "backbone": router.backbone.digest,
        "layout": router.layout.name,
        "loop": [options.turns, options.roles, PROMPTS_VERSION],
        "epoch": epochs.identity(session.ledger, epoch),
        "slots": [[q.id, version(q.grader)] for q in chosen],
        "repeats": repeats,
        "pool": session.pool.fingerprint,
        "weights": [plan.diversity, plan.turns, plan.cost],
        "policy": [train, plan.seed],
    }
    return Scoring(
        objective=Objective(
            router,
            session.pool,
            [Slot(q, repeat) for q in chosen for repeat in range(repeats)],
            session.dispatcher.ask_all,
            scope=f"measure:{epoch}",
            options=options,
            policy_seed=plan.seed,
        ),
        weights=Weights(plan.diversity, plan.turns, plan.cost) if train else Weights(),
        sample=train,
        meaning=_digest(meaning),
        turn=asyncio.Semaphore(CONCURRENT_CANDIDATES),
    )


def _digest(meaning: Any) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def step_size(router: Router, objective: Objective, plan: EvolutionPlan) -> float:
    """σ0 such that `flip_rate` of the first decisions on train differ from the start's."""
    transcripts = [objective.first_transcript(slot) for slot in objective.slots[:STEP_SIZE_SLOTS]]

    def choose(vector: Vector) -> np.ndarray:
        return np.array([d.worker_index for d in router.decide_many(transcripts, vector=vector)])

    return step_size_for_flips(choose, router.vector, rate=plan.flip_rate, seed=plan.seed)
