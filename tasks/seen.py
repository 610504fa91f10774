"""The questions of a recorded set that every worker saw: only there can workers be compared."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prefect import get_run_logger

from models.errors import BadInput
from models.evaluation.matrix import seen_by_all as seen
from models.ledger.labels import labels
from tasks.setup.questions import QuestionSet, digests
from tasks.setup.session import Session


async def seen_by_all(session: Session, questions_of: QuestionSet) -> QuestionSet:
    """The set without the questions that some recorded worker did not see; a line in the run's log says how many.

    A pool that can be asked keeps all of its questions: what is missing there can be measured. Raises BadInput where no
    question is left.
    """
    pool, asked = session.pool, questions_of.questions
    if not pool.is_recorded:
        return questions_of
    revisions = {worker.name: worker.revision for worker in pool.workers}
    frame = await asyncio.to_thread(labels, session.ledger, pool=pool.name, questions=digests(asked), workers=revisions)
    kept = seen(frame, [question.id for question in asked], pool.names)
    if not kept.any():
        raise BadInput(
            f"no question of {questions_of.name!r} was seen by all workers of pool {pool.name!r}", "questions"
        )
    if not kept.all():
        get_run_logger().info(
            "%d of %d questions are left out: not all %d workers saw them",
            int((~kept).sum()), len(asked), len(pool.workers),
        )  # fmt: skip
    return replace(questions_of, questions=tuple(q for q, keep in zip(asked, kept, strict=True) if keep))
