"""What a conductor's cold start learns from: plans that scored 1 when they were carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefect import get_run_logger

from models.conductor.learn.practice import Execute, Exercise, attempted
from models.conductor.plan.writers import PROMPTS, full_prompt
from models.errors import BadInput, FuguError
from models.grading.question import Question
from models.workers.ask import Ask, Reply
from models.workers.pool import Pool
from tasks.setup.asking import Asking
from tasks.setup.session import Session
from tasks.setup.settings import HOUSE
from tasks.setup.texts import what

if TYPE_CHECKING:
    from models.conductor.learn.sft import Example

WORKER = "worker:"


def check_plans_by(plans_by: str, pool: Pool) -> None:
    """Raises BadInput, or NotFound, where none of that name can write plans for this pool. Asks nobody."""
    if plans_by == HOUSE:
        from models.house.rehearsal import WORKERS

        strangers = [name for name in pool.names if name not in WORKERS]
        if strangers:
            raise BadInput(f"the house has no worker {strangers[0]!r}: it cannot write plans for this pool", "plans_by")
    elif not plans_by.startswith(WORKER):
        raise BadInput(f"nobody is called {plans_by!r}: plans are by house or worker:NAME", "plans_by")
    elif pool.worker(plans_by.removeprefix(WORKER)).is_recorded:
        raise BadInput(f"{plans_by!r} is known from recorded scores only: it cannot write plans", "plans_by")


async def cold_start_examples(
    plans_by: str,
    exercises: Sequence[Exercise],
    questions: Mapping[str, Question],
    session: Session,
    execute: Execute,
    prompt: str,
) -> list[Example]:
    """`plans_by`: "house" (rehearsed with its workers) or "worker:NAME", a prompted conductor.

    Raises as `check_plans_by` does.
    """
    check_plans_by(plans_by, session.pool)
    if plans_by == HOUSE:
        return await asyncio.to_thread(_by_house, exercises, questions, prompt)
    return await _by_worker(plans_by.removeprefix(WORKER), exercises, session, execute, prompt)


def _by_house(exercises: Sequence[Exercise], questions: Mapping[str, Question], prompt: str) -> list[Example]:
    from models.house.lessons import lessons

    return list(lessons(exercises, questions, prompt, seed=0))


async def _by_worker(
    name: str, exercises: Sequence[Exercise], session: Session, execute: Execute, prompt: str
) -> list[Example]:
    """A model is asked with the full prompt; of what it writes, the plans that answered right are kept."""
    from models.conductor.learn.sft import Example

    revision = session.pool.worker(name).revision
    asks = [
        Ask(scope="plans", worker=name, revision=revision, messages=tuple(dict(m) for m in full_prompt(each.request)))
        for each in exercises
    ]
    replies = await Asking(session.access).ask_all(asks)
    failed = [reply for reply in replies if isinstance(reply, FuguError)]
    if failed:
        get_run_logger().warning("%d of %d plans could not be had: %s", len(failed), len(asks), what(failed[0]))
    plans = [
        (each, reply.text or "") for each, reply in zip(exercises, replies, strict=True) if isinstance(reply, Reply)
    ]
    samples = await asyncio.to_thread(attempted, [text for _, text in plans], [each for each, _ in plans], execute)
    examples = []
    for sample in samples:
        if sample.score == 1.0:
            asked = PROMPTS[prompt](sample.exercise.request)
            examples.append(Example(asked if isinstance(asked, str) else tuple(asked), sample.text))
    return examples
