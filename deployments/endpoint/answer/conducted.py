"""`fugu-ultra`: answers through request runs, given when the last step of the workflow is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import takewhile
from typing import Any

from deployments.endpoint.access.money import limits_of
from deployments.endpoint.access.workers import barred
from deployments.endpoint.answer.abilities import candidates
from deployments.endpoint.answer.conductor import Conductor
from deployments.endpoint.answer.jobs import Job, Jobs, Order
from deployments.endpoint.answer.question import LIMITS, Question
from deployments.endpoint.answer.result import Emit, Report, Result, Text, emit_whole
from deployments.endpoint.answer.showing import recalled
from deployments.endpoint.parts import Parts
from deployments.endpoint.wire.response import result_of
from deployments.endpoint.wire.words import traced
from models.conductor.run.request import ConductRequest, Limits
from models.conductor.run.toolcalls import asked_by, continue_with, conversation_of, is_ours
from models.errors import BadInput, UpstreamBroken
from models.ledger.requests import Row
from models.workers.ask import text_of

LOGGED = ("worker", "calls", "cost_usd", "prompt_tokens", "completion_tokens", "continues")
"""What the log line of a request has of its row."""


class Conducted:
    """`row`: the finished request, once it is there, also a failed one; the jobs keep it in the ledger."""

    slow = True

    def __init__(
        self,
        parts: Parts,
        limits: Limits,
        jobs: Jobs,
        conductor: Conductor,
        question: Question,
        digest: Callable[[], str],
    ) -> None:
        """`limits`: of a request that sets none itself."""
        question.refuse_samples()
        question.refuse_routing()
        if question.pin is not None:
            conductor.check_pin(question.model, question.pin)
        self.id = question.key.id if question.key else question.id
        self.row: Row | None = None
        self._parts, self._limits, self._jobs = parts, limits, jobs
        self._question, self._digest, self._begun = question, digest(), int(time.time())

    @property
    def created(self) -> int:
        """A request that is answered again keeps the time of its first try."""
        return self._begun if self.row is None else int(self.row["created"])

    async def answer(self, emit: Emit | None) -> Result:
        """With `emit`, the words of the last step as they come, where it is surely the last.

        Raises UpstreamBroken where the answer is another one than that of which words were emitted.
        """
        question = self._question
        job = await self._jobs.open(Order(self.id, question, self._digest, self._maker()))
        said = ""
        try:
            if emit is not None:
                said = await self._follow(job, emit)
            self.row = row = await job.wait()
        finally:
            self.row = self.row or job.failed
            await job.leave()
        result = result_of(row["body"])
        if not (result.text or "").startswith(said):
            raise UpstreamBroken("the answering step has failed during its reply")
        thoughts = job.showing.thoughts or recalled(row["trace"]) if question.shows_work else None
        if emit is None:
            return replace(result, thoughts=thoughts)
        unsaid = replace(result, text=(result.text or "")[len(said) :])
        await emit_whole(unsaid if job.showing.thoughts else replace(unsaid, thoughts=thoughts), emit)
        return result

    async def _follow(self, job: Job, emit: Emit) -> str:
        """Emit what is shown of the job, to its end; return what was said of the answer."""
        said = ""
        async with aclosing(job.deltas()) as deltas:
            async for delta in deltas:
                self._begun = int(job.begun.result()["created"])
                if isinstance(delta, Text):
                    said += delta.text
                    await emit(delta)
                elif self._question.shows_work:
                    await emit(delta)
        return said

    def report(self) -> Report:
        row = self.row
        log = {name: (row or {}).get(name) for name in LOGGED}
        if row is None or row["body"] is None:
            return Report(log, {}, cost_usd=None if row is None else row.get("cost_usd"))
        log["pin"] = row["trace"].get("pin")
        return Report(log, traced(row["trace"]), row["worker"], row["calls"], cost_usd=row["cost_usd"])

    def keep(self, row: Row) -> None:
        """Nothing to do: this row is of one delivery of the answer, and a request may have several."""

    def _maker(self) -> Callable[[], ConductRequest]:
        """Makes the request to conduct, in a thread. Raises BadInput for errors that are found without the ledger."""
        question, ledger, wish = self._question, self._parts.ledger, self._question.fugu
        results, workers = question.tool_results(), question.wanted()
        limits = limits_of(question, self._limits)
        if results:
            # The workflow that asked for them goes on; its first request's limits go on counting.
            return lambda: self._continued(results)
        answered = [message["tool_call_id"] for message in question.messages if message["role"] == "tool"]
        earlier = [name for name in answered if is_ours(name)]
        own = {
            "id": self.id,
            "messages": tuple(question.messages),
            "allowed": candidates(self._parts.pool, question, workers),
            "sampling": question.sampling,
            "limits": limits,
            "shuffle": wish.shuffle,
            "recursive": bool(wish.recursive),
            "wanted": workers,
            "failover": wish.failover,
            "owner": question.caller.key,
            "purse": question.caller.purse,
            "cheapest": question.caller.policy.on_exceeded == "cheapest",
            "barred": barred(self._parts.pool, question.caller),
        }

        def make() -> ConductRequest:
            conversation = _conversation(question) or (conversation_of(ledger, earlier) if earlier else None)
            return ConductRequest(conversation=conversation, **own)

        def go_on() -> ConductRequest:
            try:
                return self._continued(spoken)
            except BadInput:  # it waits no more for these results
                return make()

        spoken = _results_with_words(question)
        return go_on if spoken else make

    def _continued(self, results: Mapping[str, str]) -> ConductRequest:
        first = asked_by(self._parts.ledger, list(results))
        if first is not None and first.owner != self._question.caller.key:
            raise BadInput("these tool calls were handed out to another API key", "messages")
        _refuse_changes(first, self._question)
        return continue_with(self._parts.ledger, self.id, results, self._question.sampling)


def _results_with_words(question: Question) -> dict[str, str]:
    """The results of a waiting workflow's calls where more words follow them, which belong to the last one: coding
    agents write reminders behind results. Empty where there are none."""
    words = list(takewhile(lambda message: message["role"] == "user", reversed(question.messages)))[::-1]
    if not words:
        return {}
    results = replace(question, messages=question.messages[: -len(words)]).tool_results()
    if not all(is_ours(name) for name in results):
        return {}
    for message in words if results else ():
        last = next(reversed(results))
        results[last] += f"\n\n{text_of(message.get('content'), mark_others=True)}"
    return results


def _conversation(question: Question) -> str | None:
    """The conversation that the caller named: that of another key is another one."""
    named = question.fugu.conversation
    return None if named is None else question.caller.own(named)


def _refuse_changes(first: ConductRequest | None, question: Question) -> None:
    """Raises BadInput for an option that differs from that of the request whose tool calls are answered.

    Checked before the results are kept. Options that are not given again stay; `None`: no such request is known, for
    which the results themselves will be refused.
    """
    if first is None:
        return
    wish, workers = question.fugu, question.wanted()
    kept: dict[str, Any] = {name: getattr(first.limits, name) for name in type(first.limits).model_fields}
    kept |= {name: getattr(first, name) for name in ("conversation", "shuffle", "recursive")}
    wished = {name: getattr(wish, name) for name in kept} | {"conversation": _conversation(question)}
    wished |= {name: question.limit(name) for name in LIMITS if wished[name] is not None}
    changed = [f"fugu.{name}" for name, value in kept.items() if wished[name] not in (None, value)]
    if workers is not None and (first.wanted is None or set(workers) != set(first.wanted)):
        changed.append("X-Fugu-Workers" if wish.allowed_workers is None else "fugu.allowed_workers")
    if changed:
        raise BadInput(f"{changed[0]} cannot change while a workflow waits for its tools", changed[0])
