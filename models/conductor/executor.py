"""The conductings of one process, by request: a request and the flow run that shows it join the same one."""

from __future__ import annotations

import asyncio

from models.conductor.conducting import Conducting
from models.conductor.request import Conducted, ConductParts, ConductRequest
from models.conductor.shared import Shared
from models.ledger.journal import Journal


class Executor:
    """Opens conductings. Belongs to one event loop."""

    def __init__(self, parts: ConductParts) -> None:
        self._parts = parts
        self._journal = Journal(parts.ledger)
        self._running: dict[str, Conducting] = {}
        self.ledger = parts.ledger

    def open(self, request: ConductRequest) -> Conducting:
        """The conducting of `request.id`: the one that runs, else a new one, which goes on from the ledger.

        Nothing is asked before its `answer` is awaited.
        """
        running = self._running.get(request.id)
        if running is None or running.over:
            running = Conducting(request, Shared(self._parts, request, self._journal))
            self._running[request.id] = running
            running.when_over(lambda: self._forget(request.id, running))
        return running

    def check(self, request: ConductRequest) -> None:
        """Raises BadInput for a wish that this process's conductor cannot honour: before anything is begun."""
        self._parts.refuse_shuffle(request)

    def _forget(self, id: str, conducting: Conducting) -> None:
        if self._running.get(id) is conducting:
            del self._running[id]

    async def flush(self) -> None:
        """Wait until all that is known of the steps is on disk."""
        await self._journal.flush()

    async def close(self) -> None:
        """Cancel what is under way, write what is waiting. The dispatcher stays open: it is the caller's."""
        await asyncio.gather(*(conducting.cancel() for conducting in list(self._running.values())))
        await self._journal.close()


async def replay(parts: ConductParts, request: ConductRequest) -> Conducted:
    """The request once more, from the ledger alone: the same contexts, replies and answer, nothing sent or written.

    Raises NotFound for what the ledger lacks, PermanentError where a context is not the recorded one, and what the
    request itself ended with.
    """
    return await Conducting(request, Shared(parts, request, None)).answer()
