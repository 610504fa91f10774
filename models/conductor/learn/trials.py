"""Run workflows for training: each step is an ask, and the last reply is graded.

A trial has no request run, plan row or flow run: its calls are in the ledger, which is all that a resumed run needs.
Equal steps of one question's trials are one call, as candidates of a generation share theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from models.conductor.learn.practice import Outcome, Trial
from models.conductor.plan.context import Done, messages_for, step_seed
from models.errors import UpstreamRefused
from models.grading.grade import grade, takes_long
from models.grading.question import Question
from models.workers.ask import Ask, Reply, Sampling, seed_for


@dataclass(frozen=True)
class Stage:
    """What trials share. `scope`: of their calls; `revisions`: by worker; `ask`: returns the settled reply to an ask.

    `sampling`: of every step; its seed is derived from the exercise and the step's number.
    """

    questions: Mapping[str, Question]
    revisions: Mapping[str, str]
    scope: str
    ask: Callable[[Ask], Awaitable[Reply]]
    sampling: Sampling = field(default_factory=Sampling)


async def carry_out(trial: Trial, stage: Stage) -> Outcome:
    """Run a trial, steps concurrently where the access lists allow. Raises what `ask` raises.

    If a worker rejects its prompt, the question has failed, as in serving: the answer is empty.
    """
    question = stage.questions[trial.exercise.question]
    if not trial.workflow.steps:
        return await _graded(question, trial.exercise.request.previous or "")
    replies: dict[int, asyncio.Task[str]] = {}
    for index in range(len(trial.workflow.steps)):
        replies[index] = asyncio.create_task(_reply(trial, stage, question, index, replies))
    try:
        await asyncio.gather(*replies.values())
    except UpstreamRefused as error:
        if not error.of_the_request:
            raise
        return Outcome(0.0, "")
    finally:
        # Calls that run beside a failed step are settled before its error is raised.
        await asyncio.gather(*replies.values(), return_exceptions=True)
    return await _graded(question, replies[len(replies) - 1].result())


async def _reply(
    trial: Trial, stage: Stage, question: Question, index: int, replies: Mapping[int, asyncio.Task[str]]
) -> str:
    workflow, exercise = trial.workflow, trial.exercise
    done = {i: Done(i, workflow.steps[i].subtask, await replies[i]) for i in workflow.sees(index)}
    worker = exercise.workers[workflow.steps[index].model]
    previous, number = exercise.request.previous, trial.numbers[index]
    messages = messages_for(question.messages, workflow, index, done, previous=previous, numbers=trial.numbers)
    # As in serving: equal steps are two samples, and a second round is not sampled like the first.
    seed = step_seed(seed_for(question.id, exercise.replicate), f"/{int(exercise.second)}#{number}")
    ask = Ask(
        scope=stage.scope,
        worker=worker,
        revision=stage.revisions[worker],
        messages=tuple(messages),
        sampling=stage.sampling.model_copy(update={"seed": seed}),
        replicate=number,
    )
    return (await stage.ask(ask)).text or ""


async def _graded(question: Question, answer: str) -> Outcome:
    slow = takes_long(question.grader)
    verdict = await asyncio.to_thread(grade, question, answer) if slow else grade(question, answer)
    return Outcome(verdict.score, answer)
