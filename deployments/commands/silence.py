"""A worker client that refuses every ask, for replays."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from models.errors import PermanentError
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk


class Silent:
    """Refuses every ask: a replay may only read replies from the ledger."""

    async def complete(self, ask: Ask) -> Reply:
        raise PermanentError(f"worker {ask.worker!r} would have to be asked, which a replay must not do")

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk]:
        raise PermanentError(f"worker {ask.worker!r} would have to be asked, which a replay must not do")
        yield  # a generator, as the protocol wants
