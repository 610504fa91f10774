"""Training of a conductor: its stages, and the workflow runs for a training loop in another thread."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.utilities.annotations import quote

from models.conductor.learn.practice import Exercise, Outcome, Sample, Trial, rehearse
from models.conductor.learn.trials import Stage, carry_out
from models.conductor.plan.familiar import Familiarity
from models.conductor.plan.taught import Taught
from models.errors import FuguError, TransientError
from models.grading.question import Question
from models.workers.ask import Ask, Reply, Sampling, text_of
from tasks.ask import ask
from tasks.caching import RETRIED
from tasks.loading import loading
from tasks.pages.report import Progress
from tasks.quiet import task
from tasks.setup.conductor import house_folder
from tasks.setup.course import ColdStartPlan
from tasks.setup.process import on_loop
from tasks.setup.questions import Registered
from tasks.setup.runner import result_of
from tasks.setup.session import Access, all_ended, session_of
from tasks.setup.settings import HOUSE
from tasks.setup.texts import what

if TYPE_CHECKING:
    from models.conductor.learn.grpo import Course
    from models.conductor.plan.writers import CheckpointWriter


@dataclass
class Student:
    """A conductor in training: the model in memory, what it is taught, and the folder for its checkpoints.

    `familiarity`: that of the conductor that it began as, and of the questions that it is taught.
    """

    model: Any
    tokenizer: Any
    taught: Taught
    max_tokens: int
    folder: Path
    familiarity: Familiarity | None = None

    @property
    def prompt(self) -> str:
        """The format of its prompts."""
        return self.taught.prompt

    def policy(self, temperature: float = 0.0) -> CheckpointWriter:
        """A plan writer with the current weights."""
        from models.conductor.plan.writers import CheckpointWriter

        limits: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": temperature}
        return CheckpointWriter(self.model, self.tokenizer, name="in training", prompt=self.prompt, **limits)

    def save(self, name: str) -> Path:
        """Write a checkpoint to the folder `name`; the rename comes last, so an existing folder is complete."""
        folder, partial = self.folder / name, self.folder / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.model.save_pretrained(partial)
        self.tokenizer.save_pretrained(partial)
        self.taught.write(partial)
        if self.familiarity is not None:
            self.familiarity.save(partial)
        shutil.rmtree(folder, ignore_errors=True)
        return partial.rename(folder)


BATCH = 128
"""Workflows in one task: a round of 512 is four tasks, which several processes can share."""


@dataclass(frozen=True)
class Practice:
    """What the workflows of one training share, as a value from which any process makes their `Stage`.

    `asked`: the questions; `revisions`, `scope`, `sampling`: as in `Stage`.
    """

    access: Access
    asked: Registered
    revisions: Mapping[str, str]
    scope: str
    sampling: Sampling

    def of(self, trials: Sequence[Trial]) -> Practice:
        """The same for the questions of these trials alone."""
        digests = {trial.exercise.question: self.asked.digests[trial.exercise.question] for trial in trials}
        return replace(self, asked=replace(self.asked, digests=digests))


@task(task_run_name="carry out {count} workflows", cache_policy=NO_CACHE, **RETRIED)
async def carry_out_batch(practice: Practice, trials: Sequence[Trial], count: int) -> list[Outcome | None]:
    """Carry out workflows in one task: for workers that take no longer than a task. A retry asks only what failed.

    `None`: no sample, because a worker's outage outlasted the retries.
    """
    results = await on_loop(_outcomes(practice, trials))
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in sorted(failures, key=lambda error: isinstance(error, TransientError)):
        if not (isinstance(failure, TransientError) and _is_last_try()):
            raise failure
    if failures:
        get_run_logger().warning(LOST, len(failures), count, what(failures[0]))
    return [result if isinstance(result, Outcome) else None for result in results]


LOST = "%d of %d workflows failed because of an outage and are no samples: %s"


async def _outcomes(practice: Practice, trials: Sequence[Trial]) -> list[Outcome | BaseException]:
    with session_of(practice.access) as session:
        questions = practice.asked.load(session.ledger)
        stage = Stage(questions, practice.revisions, practice.scope, session.dispatcher.ask, practice.sampling)
        return await asyncio.gather(*(carry_out(trial, stage) for trial in trials), return_exceptions=True)


def _is_last_try() -> bool:
    context = TaskRunContext.get()
    return context is None or context.task_run.run_count > context.task.retries


async def carried_out(trials: Sequence[Trial], stage: Stage, practice: Practice | None = None) -> list[Outcome | None]:
    """The outcome of each workflow; `None`, no sample, if a worker's outage outlasted the task's retries.

    `practice`: run the workflows in batches, each a task; without it every step is its own task, retried and cached.
    """
    if practice is None:
        return await _by_steps(trials, stage)
    batches = [trials[start : start + BATCH] for start in range(0, len(trials), BATCH)]
    # `quote`: Prefect need not search thousands of values for futures.
    tasks = (result_of(carry_out_batch, quote(practice.of(some)), quote(some), len(some)) for some in batches)
    return [outcome for outcomes in await all_ended(*tasks) for outcome in outcomes]


async def _by_steps(trials: Sequence[Trial], stage: Stage) -> list[Outcome | None]:
    steps = replace(stage, ask=_once_each())
    results = await asyncio.gather(*(carry_out(trial, steps) for trial in trials), return_exceptions=True)
    outages = [result for result in results if isinstance(result, TransientError)]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, TransientError):
            raise result
    if outages:
        get_run_logger().warning(LOST, len(outages), len(trials), what(outages[0]))
    return [result if isinstance(result, Outcome) else None for result in results]


def _once_each() -> Callable[[Ask], Awaitable[Reply]]:
    """A sender that runs each ask as a task. Equal steps in a batch's workflows are one call and one task."""
    asked: dict[str, asyncio.Task[Reply]] = {}

    async def send(wanted: Ask) -> Reply:
        if wanted.identity not in asked:
            label = f"step {wanted.replicate + 1}: {wanted.worker}"
            asked[wanted.identity] = asyncio.create_task(ask(wanted, label))
        return await asyncio.shield(asked[wanted.identity])

    return send


class Bridge:
    """`Execute` for another thread: it runs the workflows in the flow's event loop."""

    def __init__(self, stage: Stage, practice: Practice | None = None) -> None:
        self._stage, self._practice, self._loop = stage, practice, asyncio.get_running_loop()
        self._closed = False
        self._under_way: Future[Any] | None = None

    @property
    def questions(self) -> Mapping[str, Question]:
        """The questions by id."""
        return self._stage.questions

    def __call__(self, trials: Sequence[Trial]) -> list[Outcome | None]:
        return self.wait(carried_out(trials, self._stage, self._practice))

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the flow's event loop. Raises FuguError once the flow has ended."""
        if self._closed:
            work.close()
            raise FuguError("the flow that started this training has ended")
        self._under_way = asyncio.run_coroutine_threadsafe(work, self._loop)
        return self._under_way.result()

    def close(self) -> None:
        """Make the training thread fail at its next call."""
        self._closed = True
        if self._under_way is not None:
            self._under_way.cancel()


async def rehearsed(
    student: Student, exercises: Sequence[Exercise], bridge: Bridge, *, times: int = 1, temperature: float = 0.0
) -> list[Sample]:
    """Let the student write plans and run them."""
    write = student.policy(temperature).write_many
    return await asyncio.to_thread(rehearse, write, exercises, bridge, times=times)


@task(task_run_name="prepare conductor {start}", cache_policy=NO_CACHE)
async def prepare_conductor(start: str) -> str:
    """The folder of the conductor to start from: house (made on first use), a folder or a hub snapshot."""
    return str(await asyncio.to_thread(_folder_of, start))


def _folder_of(start: str) -> Path:
    if start == HOUSE:
        return house_folder()
    from models.fugu.forward.hub import local_folder

    with loading(f"the conductor {start}"):
        return local_folder(start)


def digest_of(folder: Path) -> str:
    """sha256 (hex) of a checkpoint's weights and tokenizer, to identify the start of a training."""
    content = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer*.json")]):
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()


def load_student(folder: Path, taught: Taught, max_tokens: int, home: Path, questions: Sequence[Question]) -> Student:
    """Load a checkpoint as a student of these questions. Slow: call it in a thread."""
    from models.conductor.plan.checkpoint import load

    with loading(f"the conductor {folder.name}"):
        model, tokenizer = load(folder)
    begun = Familiarity.load(folder)
    texts = [text_of(question.messages[-1]["content"]) for question in questions]
    return Student(model, tokenizer, taught, max_tokens, home, None if begun is None else begun.and_on(texts))


@task(task_run_name="cold start on {count} examples", cache_policy=NO_CACHE, cache_result_in_memory=False)
async def tune_student(
    count: int, student: Student, examples: Sequence[Any], plan: ColdStartPlan, seed: int, lora: int
) -> float:
    """Stage 0: fine-tune on plans that scored 1. Returns the last loss. `lora`: the rank of adapters, 0 for none."""
    return await asyncio.to_thread(_tune, student, examples, plan, seed, lora)


def _tune(student: Student, examples: Sequence[Any], plan: ColdStartPlan, seed: int, lora: int) -> float:
    from models.conductor.learn.grpo import adapted, adapted_rate, merged
    from models.conductor.learn.sft import Tuning, tune

    rate = adapted_rate(plan.learning_rate, lora)
    tuning = Tuning(plan.epochs, plan.batch, learning_rate=rate, seed=seed, micro_batch=plan.micro_batch)
    model = adapted(student.model, lora, seed) if lora else student.model
    loss = tune(model, student.tokenizer, examples, tuning)
    student.model = merged(model) if lora else model
    return loss


async def train_student(
    student: Student, exercises: Sequence[Exercise], bridge: Bridge, course: Course, name: str
) -> list[dict[str, float]]:
    """Stage 1 or the recursion fine-tuning, in a thread that calls this event loop for every batch of workflows."""
    from models.conductor.learn.grpo import train

    progress = await Progress.start(name, course.iterations)
    logger = get_run_logger()

    def report(iteration: int, figures: Any) -> None:
        shown = ", ".join(f"{key} {figures[key]:.3f}" for key in ("earned", "parsed", "mixed") if key in figures)
        logger.info("%s: iteration %d of %d, %s", name, iteration, course.iterations, shown)
        bridge.wait(progress.add(iteration - progress.done))

    student.model, history = await asyncio.to_thread(
        train,
        student.model,
        student.tokenizer,
        exercises,
        bridge,
        course,
        student.folder / name,
        prompt=student.prompt,
        report=report,
    )
    return history
