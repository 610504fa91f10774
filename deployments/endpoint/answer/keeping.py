"""A conversation stays with the worker that answered it last, unless the router clearly prefers another.

Who is in the middle of tool calls goes on with the same model, and a provider that has cached the conversation's
beginning reads it at a fraction of the price.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cachetools import LRUCache

from deployments.endpoint.answer.question import Question
from models.errors import LedgerAway
from models.ledger.conversations import forget_last_workers, last_worker, put_last_worker
from models.ledger.journal import Journal
from models.workers.ask import Message

if TYPE_CHECKING:
    from models.fugu.decision import Decision
    from models.fugu.rollout import Decider

KNOWN = 4096
"""Conversations that a process remembers by itself."""

FORGET_S = 600.0
"""How often the ledger forgets old ones."""


class Keeper:
    """Decides for one conversation: the router's choice, or the worker that had it.

    `kept`: whether the latest decision is not the router's own.
    """

    def __init__(self, router: Decider, had: str | None, margin: float) -> None:
        self._router, self._had, self._margin = router, had, margin
        self.workers, self.roles, self.released = router.workers, router.roles, router.released
        self.kept = False

    async def decide(self, messages: Sequence[Message], allowed: Sequence[str] | None = None) -> Decision:
        """`Decider.decide`."""
        found = await self._router.decide(messages, allowed)
        self.kept = False
        able = self._had in (self.workers if allowed is None else allowed) and self._had in self.workers
        if self._had is None or not able or found.worker == self._had:
            return found
        index = self.workers.index(self._had)
        behind = float(found.worker_logits[found.worker_index] - found.worker_logits[index])
        if behind > self._margin:
            return found
        self.kept = True
        return replace(found, worker=self._had, worker_index=index, margin=-behind)


class Keeping:
    """Who answered which conversation last: what this process remembers, and the ledger, which others write, too.

    `margin`: by how much a router has to prefer another worker to take a conversation from the one that had it.
    """

    def __init__(self, journal: Journal, margin: float) -> None:
        self._journal, self._margin = journal, margin
        self._known: LRUCache[str, str] = LRUCache(KNOWN)
        self._forgot_at = float("-inf")

    async def of(self, question: Question, router: Decider) -> Keeper:
        """The decisions of one conversation. Where the ledger is away, it begins anew."""
        return Keeper(router, await self.had(question), self._margin)

    async def had(self, question: Question) -> str | None:
        """Who answered the conversation last; `None` where it begins."""
        if all(message["role"] != "assistant" for message in question.messages):
            return None
        return await self._had(question.conversation_key)

    def note(self, question: Question, worker: str) -> None:
        """Remember who answered."""
        key = question.conversation_key
        if self._known.get(key) != worker:
            self._known[key] = worker
            self._journal.later(put_last_worker(key, worker))
        if time.monotonic() - self._forgot_at > FORGET_S:
            self._forgot_at = time.monotonic()
            self._journal.later(forget_last_workers)

    async def _had(self, key: str) -> str | None:
        if (known := self._known.get(key)) is not None:
            return known
        with suppress(LedgerAway):
            return await asyncio.to_thread(last_worker, self._journal.ledger, key)
        return None
