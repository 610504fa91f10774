"""A conversation stays with the worker that answered it last, unless the router clearly prefers another.

Who is in the middle of tool calls goes on with the same model, and a provider that has cached the conversation's
beginning reads it at a fraction of the price.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cachetools import LRUCache
from sqlalchemy import Connection, delete, select

from deployments.endpoint.answer.question import Question
from models.digest import json_digest
from models.errors import LedgerAway
from models.ledger.journal import Journal
from models.ledger.tables import conversation_workers
from models.workers.ask import Message, text_of

if TYPE_CHECKING:
    from models.fugu.decision import Decision
    from models.fugu.rollout import Decider

REMEMBERED = timedelta(days=2)
"""How long the ledger knows who answered: longer than any provider caches a prompt."""

KNOWN = 4096
"""Conversations that a process remembers by itself."""


def key_of(question: Question) -> str:
    """The conversation's key: `fugu.conversation`, the client's session, or else its beginning with the user's name."""
    named = question.fugu.conversation or question.session
    if named is not None:
        return json_digest(["named", question.user, named])
    beginning: list[list[str]] = []
    for message in question.messages:
        beginning.append([str(message["role"]), text_of(message.get("content"), mark_others=True)])
        if message["role"] == "user":
            break
    return json_digest(["begins", question.user, beginning])


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

    async def of(self, question: Question, router: Decider) -> Keeper:
        """The decisions of one conversation. Where the ledger is away, it begins anew."""
        begins = all(message["role"] != "assistant" for message in question.messages)
        return Keeper(router, None if begins else await self._had(key_of(question)), self._margin)

    def note(self, question: Question, worker: str) -> None:
        """Remember who answered, and forget what is older than anybody needs."""
        key = key_of(question)
        if self._known.get(key) == worker:
            return
        self._known[key] = worker

        def change(connection: Connection, now: datetime) -> None:
            row = {"key": key, "worker": worker, "at": now}
            statement = self._journal.ledger.insert(conversation_workers).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=row))
            connection.execute(delete(conversation_workers).where(conversation_workers.c.at < now - REMEMBERED))

        self._journal.put(change, math.inf)

    async def _had(self, key: str) -> str | None:
        if (known := self._known.get(key)) is not None:
            return known

        def read() -> str | None:
            with self._journal.ledger.reading() as connection:
                found = select(conversation_workers.c.worker).where(conversation_workers.c.key == key)
                worker: str | None = connection.execute(found).scalar_one_or_none()
                return worker

        with suppress(LedgerAway):
            return await asyncio.to_thread(read)
        return None
