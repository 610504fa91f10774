"""Shadow mode: a challenger decides beside the champion on live traffic, and asks nobody.

What it would have chosen is kept with the request's row, for `fugu shadow`. It decides after the answer, one request
after the other, and leaves out what it has no time for: no answer waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.fugu.rollout import ranking_transcript
from models.ledger.journal import Journal
from models.ledger.registry import Champion
from models.ledger.requests import note_shadow
from models.workers.ask import Message
from tasks.setup.texts import what

if TYPE_CHECKING:
    from models.fugu.rollout import Decider

log = logging.getLogger(__name__)

WAITING = 64
"""Requests that wait for the challenger; of more, the newest are left out."""


@dataclass(frozen=True)
class Seen:
    """An answered request. `worker`: whom the champion chose; `margin`: by how much, where a router did."""

    id: str
    messages: Sequence[Message]
    allowed: Sequence[str]
    worker: str
    margin: float | None


class Shadow:
    """`read`: who is the challenger now, if anybody. `load`: a checkpoint's id -> its router; called in a thread."""

    def __init__(
        self, journal: Journal, read: Callable[[], Champion | None], load: Callable[[str], Decider], every_s: float
    ) -> None:
        self._journal, self._read, self._load, self._every_s = journal, read, load, every_s
        self._queue: asyncio.Queue[Seen] = asyncio.Queue(WAITING)
        self._challenger: tuple[str, Decider] | None = None
        self._failed = ""

    def saw(self, seen: Seen) -> None:
        """To be called with each answered request. Returns immediately."""
        if self._challenger is not None and not self._queue.full():
            self._queue.put_nowait(seen)

    async def run(self) -> None:
        """Follow the registry and decide, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._decide())

    async def _follow(self) -> None:
        while True:
            try:
                await self._refresh()
                self._failed = ""
            except Exception as error:
                if what(error) != self._failed:
                    log.error("the challenger cannot decide: %s", what(error))
                self._failed = what(error)
            await asyncio.sleep(self._every_s)

    async def _refresh(self) -> None:
        champion = await asyncio.to_thread(self._read)
        wanted = None if champion is None else champion.target.get("checkpoint")
        if wanted is None:
            if self._challenger is not None:
                self._challenger = None
                log.info("nobody decides in the shadow")
        elif self._challenger is None or self._challenger[0] != wanted:
            self._challenger = None
            self._challenger = wanted, await asyncio.to_thread(self._load, wanted)
            log.info("checkpoint %s decides in the shadow", wanted[:12])

    async def _decide(self) -> None:
        while True:
            seen = await self._queue.get()
            if self._challenger is None:
                continue
            checkpoint, router = self._challenger
            known = [name for name in router.workers if name in seen.allowed]
            if not known:
                continue
            try:
                found = await router.decide(ranking_transcript(seen.messages, router), known)
            except Exception as error:
                log.warning("the challenger decides nothing: %s", type(error).__name__)
                continue
            margin = found.margin if math.isfinite(found.margin) else None
            chosen = {"checkpoint": checkpoint, "worker": found.worker, "margin": margin}
            beside = {"champion": seen.worker, "champion_margin": seen.margin}
            self._journal.later(note_shadow(seen.id, {**chosen, **beside}))
