"""Plan a workflow: write, parse, lint, repair once and prune it, or replace it by a single step.

A plan is complete before any step is paid for, and stored as one JSON value in the ledger.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from models.conductor.plan.context import Done, messages_for, sampling_for, shown_bytes
from models.conductor.plan.prompt import VERSION, Card
from models.conductor.plan.workflow import Finding, PlanLimits, Review, Step, Workflow, pruned, review
from models.conductor.plan.writers import PlanRequest
from models.conductor.run.memory import NOTHING, Memory
from models.conductor.run.request import ConductRequest
from models.conductor.run.state import RunState
from models.errors import FuguError, LimitReached, NotTaught, TransientError
from models.ledger.plans import StoredFinding, StoredPlan, StoredStep
from models.workers.ask import TOKEN_BYTES, Ask, Message, Reply, Sampling, prompt_bytes
from models.workers.fitting.formats import COMPLAINT, schema_of
from models.workers.pool import Worker
from models.workers.usage import worst_usd

CONDUCTOR = "(conductor)"
"""Replaces a worker's name for a step that the conductor itself takes, with another workflow."""


def place_of(request: ConductRequest, workflow: str, number: int) -> str:
    """A step's name within the request: the workflow's path, and the step's index as it was written."""
    return f"{workflow.removeprefix(request.root)}#{number}"


@dataclass(frozen=True)
class Plan:
    """A recorded plan. `stored` holds all of it; of its `memory` it has references, not texts."""

    stored: StoredPlan
    memory: Memory = NOTHING

    @property
    def workflow(self) -> Workflow:
        return Workflow(steps=tuple(Step(**step.planned) for step in self.stored.steps))

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(step.worker for step in self.stored.steps)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Each step's index as it was written, before unread ones were pruned."""
        return tuple(step.index for step in self.stored.steps)

    @property
    def accepts(self) -> bool:
        """Whether the plan accepts the answer of the round before."""
        return not self.stored.steps


@dataclass
class _Writing:
    """The context of a plan that is being written, for `asker`."""

    state: RunState
    workflow: str
    replies: list[Reply]
    asked: str | None = None


_WRITING: ContextVar[_Writing] = ContextVar("writing")


def asker(worker: str) -> Callable[[list[Message]], Awaitable[str]]:
    """The `ask` of a `PromptedWriter`: a call of the workflow being planned, limited and recorded like a step's."""

    async def ask(messages: list[Message]) -> str:
        writing = _WRITING.get()
        if worker in writing.state.request.barred:
            raise NotTaught(f"the API key may not ask {worker}, which writes the plans")
        wanted = Ask(
            scope=writing.workflow,
            worker=worker,
            revision=writing.state.parts.pool.worker(worker).revision,
            messages=tuple(dict(message) for message in messages),
            replicate=-1 - len(writing.replies),  # steps count from 0
        )
        writing.asked = wanted.identity
        reply = await writing.state.attempt(wanted)
        writing.replies.append(reply)
        return reply.text or ""

    return ask


@dataclass(frozen=True)
class Planner:
    """Plans one round of a request. `itself`: whether the plan may name the conductor itself.

    `askable`: the allowed workers that are offered. A writer that reads no cards may name the others, too: such a step
    is given to the next best worker.
    """

    state: RunState
    request: ConductRequest
    workflow: str
    previous: str | None
    memory: Memory
    itself: bool
    askable: Sequence[str]

    async def plan(self) -> Plan:
        """One try to plan the round. If the writer fails for good, or plans for no such question, one step is planned.

        Raises the TransientError after which its writer may be asked again, LimitReached, and what a ledger raises.

        Raises BadInput if the ordinals are to be shuffled and cannot be.
        """
        self.state.parts.refuse_shuffle(self.request)
        texts: list[str] = []
        complaints: list[str] = []
        findings: tuple[Finding, ...] = ()
        workflow: Workflow | None = None
        unplanned = ""
        writing = _Writing(self.state, self.workflow, [])
        token = _WRITING.set(writing)
        wanted = self._wanted()
        try:
            while workflow is None and len(texts) < 2:
                again = replace(wanted, complaint=complaints[-1], refused=texts[-1]) if texts else wanted
                texts.append(await self.state.parts.writer.write(again))
                found = self._reviewed(texts[-1], wanted.skills, await self.state.usd_left())
                findings = found.findings
                if found.complaint:
                    complaints.append(found.complaint)
                else:
                    workflow = found.workflow
        except LimitReached:
            raise
        except NotTaught as error:
            unplanned = str(error)
        except FuguError as error:
            if isinstance(error, TransientError) and await self._may_ask_again(writing, error):
                raise
            complaints.append(f"the conductor could not be asked: {error}")
        finally:
            _WRITING.reset(token)
        made: dict[str, Any] = {"texts": texts, "complaints": complaints, "calls": [r.call_id for r in writing.replies]}
        made |= {"findings": [_stored(finding) for finding in findings]}
        if workflow is None:
            return await self._fallback(made, unplanned or complaints[-1])
        kept, remaining = pruned(workflow)
        left_out = [self._stored(i, step) for i, step in enumerate(workflow.steps) if i not in remaining]
        return self._recorded(kept, made | {"pruned": left_out}, remaining)

    async def _may_ask_again(self, writing: _Writing, error: TransientError) -> bool:
        return writing.asked is not None and await self.state.may_ask_again(writing.asked, error)

    @property
    def names(self) -> list[str]:
        """The workers' names by ordinal."""
        request = self.request
        if request.shuffle is None:
            names = list(self.state.parts.pool.names)
        else:
            names = list(request.allowed)
            random.Random(request.shuffle).shuffle(names)
        return [*names, CONDUCTOR] if self.itself else names

    def _wanted(self) -> PlanRequest:
        cards = self.state.parts.cards
        own = "this conductor, which may write a workflow of its own for the subtask"
        return PlanRequest(
            messages=tuple(self.request.messages),
            cards=tuple(
                Card(ordinal=i, text=own if name == CONDUCTOR else cards.get(name, ""))
                for i, name in enumerate(self.names)
                if name == CONDUCTOR or name in self.askable
            ),
            max_steps=self._limits.max_steps,
            previous=self.previous,
            seed=self.request.sampling.seed,
        )

    def _may(self, name: str) -> bool:
        return name == CONDUCTOR or name in self.request.allowed

    @property
    def _limits(self) -> PlanLimits:
        limits, calls = self.state.parts.plan, self.state.meter.calls_left
        return limits if calls is None else replace(limits, max_steps=max(1, min(limits.max_steps, calls)))

    def _reviewed(self, text: str, skills: Mapping[str, int], usd_left: float | None) -> Review:
        return review(
            text,
            skills=skills,
            allowed=[self._may(name) for name in self.names],
            limits=self._limits,
            worst_usd=self._worst_usd,
            max_usd=usd_left,
            accepting=self.previous is not None,
        )

    def _worst_usd(self, workflow: Workflow, index: int) -> float:
        """The maximum cost of a step: of its actual messages, with replies as long as a step can be shown.

        Not included: failed tries that may have been paid, tool turns, and another worker that takes over.
        """
        found = self._asked(workflow, index, [self.names[step.model] for step in workflow.steps])
        return 0.0 if found is None else worst_usd(*found)

    def may_cost(self, plan: Plan) -> float:
        """The most that the steps of a plan that are not done can cost, as `_worst_usd` counts, USD; of one whose reply
        has to have a format, with its repair."""
        total = 0.0
        for place, number in enumerate(plan.numbers):
            row = self.state.step(self.workflow, number)
            found = self._asked(plan.workflow, place, plan.workers)
            if found is None or (row is not None and row.state == "done"):
                continue
            worker, messages, sampling = found
            total += worst_usd(*found)
            if schema_of(sampling) is not None:
                size = prompt_bytes(messages, sampling) + TOKEN_BYTES * worker.output_tokens(sampling.max_tokens)
                total += worker.worst_usd(size + COMPLAINT, sampling.max_tokens)
        left = self.state.meter.usd_left
        return total if left is None else min(total, left)

    def _asked(
        self, workflow: Workflow, index: int, names: Sequence[str]
    ) -> tuple[Worker, list[dict[str, Any]], Sampling] | None:
        """What a step's worker is asked at most. `names`: who takes each step; `None` for one that the conductor takes,
        whose own plan is checked then, or a worker that is in the pool no more."""
        pool, request, name = self.state.parts.pool, self.request, names[index]
        if name not in pool.names:
            return None
        shown = {i: names[i] if names[i] in pool.names else None for i in workflow.sees(index)}
        longest = {i: "x" * shown_bytes(pool, request.allowed, worker) for i, worker in shown.items()}
        messages = messages_for(
            request.messages,
            workflow,
            index,
            {i: Done(i, workflow.steps[i].subtask, reply) for i, reply in longest.items()},
            own=self.memory.own.get(name, ()),
            memory=self.memory.tools,
            previous=self.previous,
        )
        sampling = sampling_for(request.sampling, workflow, index, place_of(request, self.workflow, index))
        return pool.worker(name), messages, sampling

    async def _fallback(self, made: dict[str, Any], reason: str) -> Plan:
        """A plan of one step on the router's best worker; after the first round an empty one: its answer stays."""
        made |= {"fallback": reason}
        if self.previous is not None:
            return self._recorded(Workflow(steps=()), made)
        ranked = await self.state.parts.rank(self.request.messages, self.askable)
        ordinal = self.names.index(ranked[0])
        step = Step(model=ordinal, subtask="Answer the conversation.", access=())
        return self._recorded(Workflow(steps=(step,)), made)

    def _recorded(self, workflow: Workflow, made: dict[str, Any], numbers: Sequence[int] = (0,)) -> Plan:
        stored = StoredPlan(
            policy=self.state.parts.writer.name,
            prompt=VERSION,
            request=self.state.request.id,
            ordinals=tuple(self.names),
            steps=tuple(self._stored(i, step) for i, step in zip(numbers, workflow.steps, strict=False)),
            previous=self.previous,
            memory=self.memory.kept,
            not_asked=tuple(name for name in self.request.allowed if name not in self.askable),
            # Only this ledger can make the tool call ids that the client gets, and makes them again after a kill.
            salt=secrets.token_hex(16),
            **made,
        )
        return Plan(stored, self.memory)

    def _stored(self, index: int, step: Step) -> StoredStep:
        planned = step.model_dump(mode="json")
        return StoredStep(index=index, worker=self.names[step.model], subtask=step.subtask, planned=planned)


def _stored(finding: Finding) -> StoredFinding:
    number = None if finding.step is None else finding.step + 1
    return StoredFinding(code=finding.code, step=number, message=finding.numbered_message, fatal=finding.fatal)
