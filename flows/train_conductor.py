"""Train a conductor: cold start on example workflows, a gate, then GRPO on workflows that real workers run.

Conductor, arXiv 2512.04388: the reward is 0 for a plan that cannot be run, 0.5 for a wrong answer, 1 for a right one;
the advantage is normalised over the plans of one question. The model is trained in a thread; every batch of its plans
is run in this flow, whose dispatcher asks the workers, so that settled calls are not paid twice. After a kill, the
training continues from its last checkpoint.

Not in the paper: the gate, without which a training may run for hours without a gradient, and the report of failure
modes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import get_run_logger
from pydantic import Field

from models.conductor.learn.checks import readiness
from models.conductor.learn.offers import exercises
from models.conductor.learn.practice import Exercise, Sample
from models.conductor.learn.trials import Stage
from models.conductor.plan.taught import Taught, skills_of
from models.errors import BadInput, NotReady
from models.ledger import epochs
from models.workers.ask import Sampling
from tasks import parameters
from tasks.examples import check_plans_by, cold_start_examples
from tasks.learn import (
    Bridge,
    Practice,
    Student,
    digest_of,
    load_student,
    prepare_conductor,
    rehearsed,
    train_student,
    tune_student,
)
from tasks.pages.report import table
from tasks.pages.training import training_artifacts
from tasks.quiet import flow
from tasks.setup.asking import Asking
from tasks.setup.conductor import cards
from tasks.setup.course import ConductorPreset, CoursePlan, load_course, training_home
from tasks.setup.questions import QuestionSet, load_set
from tasks.setup.session import Session, open_session
from tasks.setup.settings import HOUSE

REVISION = 2
"""Part of a training's name: change the number whenever the procedure changes."""

GROUPS = 32
"""Validation exercises for which groups of plans are sampled, for the gate and the failure modes."""

GROUP = 8
"""Plans in such a group: enough to see whether rewards differ within it."""


@flow(name="train-conductor", flow_run_name="train conductor on {pool}")
async def train_conductor(
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: str = Field(
        "house", description="an entry of conductors.yaml: paper, small, house, house-pools, or one of your own"
    ),
    start: str = Field("", description="house, a folder, or a hub's name; empty: the preset's"),
    seed: int = Field(0, description=parameters.SEED),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> str:
    """Returns the folder of the trained conductor, for FUGU_CONDUCTOR. Raises NotReady if the gate is not passed."""
    plan = load_course(preset)
    async with open_session(pool, max_usd) as session:
        if plan.cold_start.examples:
            check_plans_by(plan.cold_start.plans_by, session.pool)
        questions_of = load_set(questions, plan.questions, session.ledger).require("train", "validation", "test")
        folder = Path(await prepare_conductor(start or plan.start))
        lesson = await _lesson(session, questions_of, preset, plan, seed, folder)
        try:
            return await _learn(lesson, folder)
        finally:
            lesson.bridge.close()


@dataclass(frozen=True)
class Lesson:
    """Shared by all stages of one training. `home`: the training's folder."""

    session: Session
    questions: QuestionSet
    plan: ConductorPreset
    seed: int
    cards: dict[str, str]
    home: Path
    bridge: Bridge

    @property
    def taught(self) -> Taught:
        """What the trained conductor will know: this pool's workers, and the skills on their cards."""
        skills = sorted(skills_of(self.cards))
        return Taught.on(self.plan.prompt, self.session.pool, skills)

    async def student(self, folder: Path) -> Student:
        """The checkpoint in a folder, as this training's student."""
        train, limit = self.questions.split("train"), self.plan.course.max_tokens
        return await asyncio.to_thread(load_student, folder, self.taught, limit, self.home, train)

    def exercises(self, split: str, count: int, seed: int) -> list[Exercise]:
        """`count` exercises of a split, with the preset's offers of workers."""
        return exercises(
            self.questions.split(split),
            self.session.pool.names,
            self.cards,
            self.plan.offers.offers(),
            count=count,
            seed=seed,
            max_steps=self.plan.max_steps,
        )


async def _lesson(
    session: Session, questions_of: QuestionSet, preset: str, plan: ConductorPreset, seed: int, folder: Path
) -> Lesson:
    known = await asyncio.to_thread(cards, session.ledger, session.pool)
    if plan.offers.shuffled and not any(known.values()):
        raise BadInput(
            "shuffled workers are identified by their cards, but there are no labels: run refresh-labels", "pool"
        )
    started = await asyncio.to_thread(digest_of, folder)
    meaning = {
        "revision": REVISION,
        "start": started,
        "workers": session.pool.fingerprint,
        "questions": questions_of.name,
        "settings": plan.model_dump(),
        # If the prompt has no cards, new labels do not change the training.
        "cards": known if plan.prompt != "compact" else {},
        "seed": seed,
    }
    home, line = await asyncio.to_thread(training_home, session.pool.name, preset, meaning)
    if line:
        get_run_logger().warning(line)
    epoch = epochs.open_epoch(session.ledger, session.pool.name, questions_of.name)
    stage = Stage(
        questions={question.id: question for question in questions_of.questions},
        revisions={worker.name: worker.revision for worker in session.pool.workers},
        scope=epochs.scope_of(epoch),
        ask=Asking(session.access).ask,
        sampling=Sampling(max_tokens=plan.worker_max_tokens, temperature=plan.worker_temperature),
    )
    asked = questions_of.registered(questions_of.questions)
    practice = Practice(session.access, asked, stage.revisions, stage.scope, stage.sampling)
    bridge = Bridge(stage, None if plan.step_tasks else practice)
    return Lesson(session, questions_of, plan, seed, known, home, bridge)


async def _learn(lesson: Lesson, folder: Path) -> str:
    plan = lesson.plan
    student = await lesson.student(folder)
    _log_device(student)
    _check_memory(student, plan)
    test = lesson.exercises("test", len(lesson.questions.split("test")), seed=0)
    frozen = await rehearsed(student, test, lesson.bridge)
    await _cold_start(lesson, student)
    watched = lesson.exercises("validation", GROUPS, seed=0)
    before = await _sampled(lesson, student, watched)
    await _gate(before)
    history = await _practise(lesson, student, plan.course, "grpo")
    if plan.recursion is not None and plan.recursion.iterations:
        history += await _practise(lesson, student, plan.recursion, "recursion")
    trained = await asyncio.to_thread(student.save, "final")
    after = await _sampled(lesson, student, watched)
    examined = await rehearsed(student, test, lesson.bridge)
    tasks_of = {question.id: question.task for question in lesson.questions.split("test")}
    await training_artifacts(history, (before, after), (frozen, examined), tasks_of)
    return str(trained)


def _log_device(student: Student) -> None:
    import torch

    device, there = student.model.device, torch.cuda.device_count()
    where = "on the CPU, since there is no GPU here" if device.type == "cpu" else f"on {device}"
    if there > 1:
        where += f" alone; there are {there} GPUs here, and CUDA_VISIBLE_DEVICES says which one is the first"
    get_run_logger().info("the conductor is trained %s", where)


def _check_memory(student: Student, plan: ConductorPreset) -> None:
    """Check that every stage fits the memory, before anything is paid. Raises BadInput if one does not."""
    from models.conductor.learn.grpo import fitting_rank

    ranks = [stage.lora for stage in (plan.course, plan.recursion) if stage is not None and stage.iterations]
    for rank in [*ranks, plan.course.lora] if plan.cold_start.examples else ranks:
        fitting_rank(student.model, rank)


async def _cold_start(lesson: Lesson, student: Student) -> None:
    """Stage 0. If an earlier run completed it, load its checkpoint."""
    from models.conductor.learn.grpo import fitting_rank

    plan, kept = lesson.plan.cold_start, lesson.home / "cold"
    if not plan.examples:
        return
    if kept.is_dir():
        made = await lesson.student(kept)
        student.model = made.model
        return
    given = lesson.exercises("train", plan.examples, seed=lesson.seed)
    examples = await cold_start_examples(
        plan.plans_by, given, lesson.bridge.questions, lesson.session, lesson.bridge, student.prompt
    )
    lora = fitting_rank(student.model, lesson.plan.course.lora)
    loss = await tune_student(len(examples), student, examples, plan, lesson.seed, lora)
    get_run_logger().info("cold start: %d examples of %d exercises, loss %.3f", len(examples), len(given), loss)
    await asyncio.to_thread(student.save, "cold")


async def _sampled(lesson: Lesson, student: Student, watched: Sequence[Exercise]) -> list[Sample]:
    temperature = lesson.plan.course.temperature
    return await rehearsed(student, watched, lesson.bridge, times=GROUP, temperature=temperature)


async def _gate(samples: Sequence[Sample]) -> None:
    found = readiness(samples)
    await table("conductor-gate", [vars(found)], found.line)
    get_run_logger().info(found.line)
    if not found.ready:
        raise NotReady(found.line)


async def _practise(lesson: Lesson, student: Student, plan: CoursePlan, name: str) -> list[dict[str, float]]:
    """Train by GRPO. In the recursion fine-tuning every other exercise is a forced second round."""
    from models.conductor.learn.grpo import fitting_rank

    course = plan.course(lesson.seed, lora=fitting_rank(student.model, plan.lora))
    given = lesson.exercises("train", course.exercises, seed=lesson.seed)
    if name == "recursion":
        given = [replace(exercise, second=number % 2 == 1) for number, exercise in enumerate(given)]
    return await train_student(student, given, lesson.bridge, course, name)
