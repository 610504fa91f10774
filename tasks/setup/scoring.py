"""Set up the scoring of an evolution's candidates on one split of a question set."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from models.coding.agent import Agent
from models.coding.mixture import Mixture, Rewarding
from models.digest import json_digest
from models.fugu.learn.fitness import Weights
from models.fugu.learn.objective import Objective, Slot
from models.fugu.loop import LoopOptions
from models.fugu.roles import PROMPTS_VERSION
from models.fugu.router import Router
from models.grading.grade import version
from models.grading.repository import RepositoryTask
from models.ledger import epochs
from tasks.candidate import Scoring
from tasks.coding import meaning as agentic_meaning
from tasks.coding import open_rollouts
from tasks.setup.preset import EvolutionPlan
from tasks.setup.questions import QuestionSet
from tasks.setup.session import Session

CONCURRENT_CANDIDATES = 64
"""Candidates that may wait for shared forwards (models/fugu/learn/tree.py), which limit their own memory."""


@dataclass(frozen=True)
class AgenticWork:
    """Repository tasks and the agent that works on them."""

    tasks: list[RepositoryTask]
    agent: Agent

    def of(self, split: str) -> list[RepositoryTask]:
        """The tasks of one split."""
        return [task for task in self.tasks if task.question.split == split]


def open_scoring(
    session: Session,
    router: Router,
    questions_of: QuestionSet,
    epoch: int,
    plan: EvolutionPlan,
    work: AgenticWork | None,
    memo_bytes: int,
    split: str,
) -> Scoring:
    """The scoring on one split: on train the policy samples, on validation it decides as in serving."""
    train = split == "train"
    count, repeats = (plan.questions, plan.repeats) if train else (plan.validation, 1)
    chosen = questions_of.split(split)[:count]
    options = LoopOptions()
    temperature = plan.temperature if train else 0.0
    meaning = {
        "backbone": [router.backbone.digest, str(router.backbone.memo_dtype), router.backbone.reader.most],
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
        session.ask_all,
        scope=epochs.scope_of(epoch),
        options=options,
        policy_seed=plan.seed,
        memo_bytes=memo_bytes,
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
        meaning=json_digest(meaning),
        turn=asyncio.Semaphore(CONCURRENT_CANDIDATES),
    )
