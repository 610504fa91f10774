"""Answers of the Responses API: written into their drafts as they come, and kept before their clients see the end."""

from __future__ import annotations

import asyncio
import math

from deployments.endpoint.answer.jobs import PROMPT_S
from deployments.endpoint.answer.result import Answering, Delta, Emit, Report, Result
from deployments.endpoint.wire.problems import problem_of
from deployments.endpoint.wire.responses.question import ResponsesQuestion
from models.ledger.journal import Journal
from models.ledger.kept.responses import put
from models.ledger.requests import Row


class Wrapped:
    """Who answers a question, wrapped: id, time and report are those of the wrapped one."""

    slow = False

    def __init__(self, question: ResponsesQuestion, answering: Answering) -> None:
        self._question, self._answering = question, answering

    @property
    def id(self) -> str:
        return self._answering.id

    @property
    def created(self) -> int:
        return self._answering.created

    def report(self) -> Report:
        return self._answering.report()


class KeptAnswer(Wrapped):
    """An answer that is written into its question's draft, and kept unless its client does not want that.

    A client that goes away ends it, as in chat completions, and nothing is kept.
    """

    def __init__(self, question: ResponsesQuestion, answering: Answering, journal: Journal) -> None:
        super().__init__(question, answering)
        self.slow, self._journal = answering.slow, journal

    async def answer(self, emit: Emit | None) -> Result:
        draft, outbox = self._question.draft, self._question.outbox

        async def write(delta: Delta) -> None:
            assert emit is not None
            if not draft.begun:
                outbox.append(draft.begin(self.id, self.created))
            outbox.append(draft.add(delta))
            await emit(delta)

        try:
            result = await self._answering.answer(None if emit is None else write)
        except Exception as error:
            if draft.begun:  # its client knows its id
                draft.fail(problem_of(error))
                await self._keep()
            raise
        if not draft.begun:
            outbox.append(draft.begin(self.id, self.created))
        outbox.append(draft.finish(result, emit is not None, self._question.ended_at()))
        await self._keep()
        return result

    async def _keep(self) -> None:
        """Written before the client knows the end, so that it can go on from there; an outage is not waited for."""
        if self._question.store:
            kept = self._question.kept(self.id)
            await asyncio.wait([self._journal.put(put(self._journal.ledger, kept), math.inf)], timeout=PROMPT_S)

    def keep(self, row: Row) -> None:
        self._answering.keep(row)
