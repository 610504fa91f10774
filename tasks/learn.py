"""Training of a conductor: its stages, and the workflow runs for a training loop in another thread."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE

from models.conductor.learn.practice import Exercise, Outcome, Sample, Trial, rehearse
from models.conductor.learn.trials import Stage, carry_out
from models.errors import FuguError, TransientError
from models.grading.question import Question
from models.workers.ask import Ask, Reply
from tasks.ask import ask
from tasks.caching import RETRIED
from tasks.pages.report import Progress
from tasks.quiet import task
from tasks.setup.conductor import house_folder
from tasks.setup.course import ColdStartPlan
from tasks.setup.settings import HOUSE
from tasks.setup.texts import what

if TYPE_CHECKING:
    from models.conductor.learn.grpo import Course
    from models.conductor.plan.writers import CheckpointWriter


@dataclass
class Student:
    """A conductor in training: the model in memory, its prompt, and the folder for its checkpoints."""

    model: Any
    tokenizer: Any
    prompt: str
    max_tokens: int
    folder: Path

    def policy(self, temperature: float = 0.0) -> CheckpointWriter:
        """A plan writer with the current weights."""
        from models.conductor.plan.writers import CheckpointWriter

        limits: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": temperature}
        return CheckpointWriter(self.model, self.tokenizer, name="in training", prompt=self.prompt, **limits)

    def save(self, name: str) -> Path:
        """Write a checkpoint to the folder `name`; the rename comes last, so an existing folder is complete."""
        from models.conductor.plan.writers import describe

        folder, partial = self.folder / name, self.folder / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.model.save_pretrained(partial)
        self.tokenizer.save_pretrained(partial)
        describe(partial, self.prompt)
        shutil.rmtree(folder, ignore_errors=True)
        return partial.rename(folder)


@dataclass
class Batch:
    """Workflows that are run together, and the outcome of each so far."""

    trials: Sequence[Trial]
    stage: Stage
    outcomes: list[Outcome | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outcomes = [None] * len(self.trials)


BATCH: ContextVar[Batch] = ContextVar("batch")


@task(task_run_name="carry out {count} workflows", cache_policy=NO_CACHE, **RETRIED)
async def carry_out_batch(count: int) -> None:
    """Try the workflows without an outcome once, in one task: for workers that take no longer than a task."""
    batch = BATCH.get()
    open_ = [i for i, outcome in enumerate(batch.outcomes) if outcome is None]
    results = await asyncio.gather(*(carry_out(batch.trials[i], batch.stage) for i in open_), return_exceptions=True)
    failures: list[BaseException] = []
    for i, result in zip(open_, results, strict=True):
        if isinstance(result, Outcome):
            batch.outcomes[i] = result
        else:
            failures.append(result)
    for failure in sorted(failures, key=lambda error: isinstance(error, TransientError)):
        raise failure


async def carried_out(trials: Sequence[Trial], stage: Stage, *, step_tasks: bool = False) -> list[Outcome | None]:
    """The outcome of each workflow; `None`, no sample, if a worker's outage outlasted the task's retries.

    `step_tasks`: run every step as its own task, retried and cached, instead of one task for all workflows.
    """
    if not trials:
        return []
    if step_tasks:
        return await _by_steps(trials, stage)
    batch = Batch(trials, stage)
    token = BATCH.set(batch)
    try:
        await carry_out_batch(len(trials))
    except TransientError as error:
        lost = sum(outcome is None for outcome in batch.outcomes)
        get_run_logger().warning(
            "%d of %d workflows failed because of an outage and are no samples: %s", lost, len(trials), what(error)
        )
    finally:
        BATCH.reset(token)
    return batch.outcomes


async def _by_steps(trials: Sequence[Trial], stage: Stage) -> list[Outcome | None]:
    steps = replace(stage, ask=_once_each())
    results = await asyncio.gather(*(carry_out(trial, steps) for trial in trials), return_exceptions=True)
    outages = [result for result in results if isinstance(result, TransientError)]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, TransientError):
            raise result
    if outages:
        get_run_logger().warning(
            "%d of %d workflows failed because of an outage and are no samples: %s",
            len(outages),
            len(trials),
            what(outages[0]),
        )
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

    def __init__(self, stage: Stage, *, step_tasks: bool = False) -> None:
        self._stage, self._loop = stage, asyncio.get_running_loop()
        self._step_tasks = step_tasks
        self._closed = False
        self._under_way: Future[Any] | None = None

    @property
    def questions(self) -> Mapping[str, Question]:
        """The questions by id."""
        return self._stage.questions

    def __call__(self, trials: Sequence[Trial]) -> list[Outcome | None]:
        return self.wait(carried_out(trials, self._stage, step_tasks=self._step_tasks))

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

    return local_folder(start)


def digest_of(folder: Path) -> str:
    """sha256 (hex) of a checkpoint's weights and tokenizer, to identify the start of a training."""
    content = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer*.json")]):
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()


def load_student(folder: Path, prompt: str, max_tokens: int, home: Path) -> Student:
    """Load a checkpoint as a student. Slow: call it in a thread."""
    from models.conductor.plan.checkpoint import load

    model, tokenizer = load(folder)
    return Student(model, tokenizer, prompt, max_tokens, home)


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
        shown = ", ".join(f"{key} {figures[key]:.3f}" for key in ("reward", "parsed", "mixed") if key in figures)
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
