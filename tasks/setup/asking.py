"""Ask workers from a task, in any process and any event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from models.errors import FuguError
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk
from tasks.setup.process import on_loop
from tasks.setup.session import Access, session_of


@dataclass(frozen=True)
class Asking:
    """The dispatcher of the session that `access` names. The session is opened at each use where it is closed."""

    access: Access

    async def ask(self, ask: Ask) -> Reply:
        """`Dispatcher.ask`."""
        return await on_loop(self._ask(ask))

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply | FuguError]:
        """`Dispatcher.ask_all`."""
        return await on_loop(self._ask_all(asks))

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk]:
        """`Dispatcher.stream`."""
        chunks = self._chunks(ask)
        try:
            while (chunk := await on_loop(_next(chunks))) is not None:
                yield chunk
        finally:
            await on_loop(chunks.aclose())

    async def _ask(self, ask: Ask) -> Reply:
        with session_of(self.access) as session:
            return await session.dispatcher.ask(ask)

    async def _ask_all(self, asks: Sequence[Ask]) -> list[Reply | FuguError]:
        with session_of(self.access) as session:
            return await session.dispatcher.ask_all(asks)

    async def _chunks(self, ask: Ask) -> AsyncGenerator[Chunk]:
        with session_of(self.access) as session:
            async with aclosing(session.dispatcher.stream(ask)) as chunks:
                async for chunk in chunks:
                    yield chunk


async def _next(chunks: AsyncGenerator[Chunk]) -> Chunk | None:
    return await anext(chunks, None)
