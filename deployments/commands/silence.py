"""A sender for those who may not send."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from models.errors import PermanentError
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk


class Silent:
    """Refuses every ask: what is not in the ledger stays unasked."""

    async def complete(self, ask: Ask) -> Reply:
        raise PermanentError(f"worker {ask.worker!r} would have to be asked, which a replay never does")

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk]:
        raise PermanentError(f"worker {ask.worker!r} would have to be asked, which a replay never does")
        yield  # a generator, as the protocol wants
