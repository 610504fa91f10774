"""Measurement of workers: asks questions of workers, grades the replies and records the attempts in the ledger."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from models.errors import UpstreamRefused
from models.grading.grade import grade, takes_long, version
from models.grading.question import Question
from models.ledger.epochs import scope_of
from models.ledger.labels import Attempt, Cell, put_attempts
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply, Sampling, seed_for
from models.workers.dispatch import Dispatcher


def ask_for(question: Question, worker: str, revision: str, repeat: int, scope: str) -> Ask:
    """The ask of one attempt: the question's own messages, its seed from (question, repeat)."""
    return Ask(
        scope=scope,
        worker=worker,
        revision=revision,
        messages=question.messages,
        sampling=Sampling(seed=seed_for(question.id, repeat)),
        replicate=repeat,
    )


async def measure(
    cells: Sequence[Cell],
    questions: Mapping[str, Question],
    *,
    ledger: Ledger,
    dispatcher: Dispatcher,
) -> int:
    """Ask, grade and record the cells; return how many were recorded.

    A permanent refusal of one cell (say a prompt that is too long for the worker) scores 0, as it would in use. A
    transient failure after all retries, an exceeded budget, or a failed grader is raised after the other cells are
    recorded, so that running the batch again repeats only the missing ones.
    """
    asks = [ask_for(questions[c.question_id], c.worker, c.revision, c.repeat, scope_of(c.epoch)) for c in cells]
    replies = await dispatcher.ask_all(asks)
    attempts: list[Attempt] = []
    failures: list[Exception] = []
    for cell, outcome in zip(cells, replies, strict=True):
        question = questions[cell.question_id]
        if isinstance(outcome, Reply):
            try:
                attempts.append(await _graded(cell, question, outcome))
            except Exception as error:  # a grader's failure on one reply must not lose the others' grades
                failures.append(error)
        elif isinstance(outcome, UpstreamRefused) and outcome.of_the_request:
            attempts.append(_attempt(cell, question, Reply(worker=cell.worker, revision=cell.revision, text=""), 0.0))
        else:
            failures.append(outcome)
    put_attempts(ledger, attempts)
    if failures:
        raise failures[0]
    return len(attempts)


async def _graded(cell: Cell, question: Question, reply: Reply) -> Attempt:
    text = reply.text or ""
    slow = takes_long(question.grader)
    verdict = await asyncio.to_thread(grade, question, text) if slow else grade(question, text)
    return _attempt(cell, question, reply, verdict.score)


def _attempt(cell: Cell, question: Question, reply: Reply, score: float) -> Attempt:
    return Attempt(
        epoch=cell.epoch,
        question_id=cell.question_id,
        worker=cell.worker,
        revision=cell.revision,
        repeat=cell.repeat,
        call_id=reply.call_id or None,
        grader=question.grader,
        grader_version=version(question.grader),
        score=score,
        cost_usd=reply.cost_usd,
        prompt_tokens=reply.usage.prompt_tokens,
        completion_tokens=reply.usage.completion_tokens,
        seconds=reply.seconds,
        text_digest=hashlib.sha256((reply.text or "").encode()).hexdigest(),
        question_digest=question.digest,
    )
