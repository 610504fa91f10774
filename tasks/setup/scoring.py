"""Set up the scoring of router vectors by rollouts on parts of a question set, in any process.

A flow makes a `Recipe`, which is an input of its tasks; each process that runs such a task builds the `Scoring` once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from models.coding.mixture import Mixture, Rewarding
from models.digest import json_digest
from models.errors import BadInput
from models.fugu.forward.batches import MEMO_BYTES
from models.fugu.learn.fitness import Tally, Weights, fitness
from models.fugu.learn.objective import Objective, Slot
from models.fugu.roles import PROMPTS_VERSION
from models.fugu.rollout import options_of
from models.fugu.router import Router
from models.grading.grade import version
from models.grading.question import Question
from models.ledger import epochs, registry
from models.ledger.store import Ledger
from models.workers.pool import Pool
from tasks.coding import Work
from tasks.coding import meaning as agentic_meaning
from tasks.setup.asking import Asking
from tasks.setup.preset import BackbonePlan, QuestionCounts
from tasks.setup.process import built_once
from tasks.setup.questions import load_set
from tasks.setup.router import load_router
from tasks.setup.session import Access, pool_of
from tasks.setup.settings import open_ledger

CONCURRENT_CANDIDATES = 64
"""Candidates that may wait for shared forwards (models/fugu/learn/tree.py), which limit their own memory."""


@dataclass(frozen=True)
class Recipe:
    """From this value any process builds the same `Scoring`.

    `checkpoint`: whose router and vector are the start. `questions`, `counts`, `name`: arguments and name of the
    question set; the first `most` of `splits` (`None`: all) are rolled out, each `repeats` times.
    `temperature`: of the policy's sampling; 0 is the argmax. `random_pools`: the share of turns that may choose among
    some of the workers only. `memory`: of the backbone; `memo_bytes`: of the objective.
    """

    access: Access
    checkpoint: str
    questions: str
    counts: QuestionCounts
    name: str
    epoch: int
    splits: tuple[str, ...]
    most: int | None = None
    repeats: int = 1
    temperature: float = 0.0
    random_pools: float = 0.0
    seed: int = 42
    weights: Weights = field(default_factory=Weights)
    rungs: int = 1
    memory: BackbonePlan | None = None
    memo_bytes: int = MEMO_BYTES
    work: Work | None = None

    def chosen(self, ledger: Ledger) -> list[Question]:
        """The questions. Raises BadInput if the set is no longer the one of that name."""
        found = load_set(self.questions, self.counts, ledger)
        if found.name != self.name:
            raise BadInput(f"question set {self.name!r} was changed during the run: start the flow again", "questions")
        return found.split(*self.splits)[: self.most]


@dataclass(frozen=True)
class Scoring:
    """What all candidates of a run share. `meaning`: its digest, for the cache key; `rungs`: of successive halving.

    `temperature`: of the policy's sampling in rollouts; 0 is the argmax. Bound to the process's loop.
    """

    objective: Rewarding
    weights: Weights
    temperature: float
    rungs: int
    meaning: str
    turn: asyncio.Semaphore

    def fitness(self, total: Tally) -> float:
        """J for a candidate's rollouts."""
        return fitness(total, self.objective.options.turns, self.weights)


@built_once(maxsize=4)
def scoring_of(recipe: Recipe) -> Scoring:
    """The recipe's scoring, built at its first use in this process. Slow: call it in a thread."""
    ledger = open_ledger()
    try:
        router = load_router(registry.load_checkpoint(ledger, recipe.checkpoint), recipe.memory)
        pool = pool_of(recipe.access).of(router.workers)  # what serves may have been learned on another order of it
        chosen = recipe.chosen(ledger)
        objective, agentic = _objective(recipe, router, pool, chosen, ledger)
        meaning = _meaning(recipe, router, pool, chosen, epochs.identity(ledger, recipe.epoch)) | agentic
    finally:
        ledger.close()
    turn = asyncio.Semaphore(CONCURRENT_CANDIDATES)
    return Scoring(objective, recipe.weights, recipe.temperature, recipe.rungs, json_digest(meaning), turn)


def _objective(
    recipe: Recipe, router: Router, pool: Pool, chosen: list[Question], ledger: Ledger
) -> tuple[Rewarding, dict[str, str]]:
    """The objective, and what its agentic part means."""
    questions = Objective(
        router,
        pool,
        [Slot(question, repeat) for question in chosen for repeat in range(recipe.repeats)],
        Asking(recipe.access).ask_all,
        scope=epochs.scope_of(recipe.epoch),
        options=options_of(router),
        policy_seed=recipe.seed,
        memo_bytes=recipe.memo_bytes,
        random_pools=recipe.random_pools,
    )
    if recipe.work is None or not (tasks := recipe.work.tasks(*recipe.splits)):
        return questions, {}
    rollouts = recipe.work.open(recipe.access, ledger, pool, questions.scope, recipe.repeats, recipe.splits)
    meaning = agentic_meaning(tasks, rollouts.bench.agent, rollouts.bench.model)
    return Mixture(questions, rollouts, recipe.seed), {"agentic": meaning}


def _meaning(recipe: Recipe, router: Router, pool: Pool, chosen: list[Question], epoch: str) -> dict[str, object]:
    options = options_of(router)
    return {
        "backbone": [router.backbone.digest, str(router.backbone.memo_dtype), router.backbone.reader.most],
        "layout": router.layout.name,
        "loop": [options.turns, options.roles, PROMPTS_VERSION, options.released],
        "epoch": epoch,
        "slots": [[question.id, version(question.grader)] for question in chosen],
        "repeats": recipe.repeats,
        "pool": pool.fingerprint,
        "policy": [recipe.temperature, recipe.seed, recipe.random_pools],
    }


@dataclass(frozen=True)
class Part:
    """One split's rollouts for a flow: the recipe for its tasks, and what its own process built from it."""

    recipe: Recipe
    scoring: Scoring

    @classmethod
    def of(cls, recipe: Recipe) -> Part:
        """Slow: call it in a thread."""
        return cls(recipe, scoring_of(recipe))
