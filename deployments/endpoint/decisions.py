"""Decisions of one process's routers for another process of the same owner, over a socket in a private folder.

One connection is one request: a line of JSON, then the text to decide on; the reply is a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import BadInput
from models.fugu import transcript
from models.fugu.decision import Decision, decisions_on, mask_of
from models.workers.ask import Message

if TYPE_CHECKING:
    from models.fugu.microbatch import MicroBatcher

_SOCKET = "decisions"


async def serve_decisions(folder: Path, load: Callable[[str], MicroBatcher]) -> asyncio.Server:
    """Serve decisions in this folder. `load`, called in a thread, gives the router of a checkpoint's id."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            text = (await reader.readexactly(asked["bytes"])).decode()
            writer.write(json.dumps(await _answer(load, asked["checkpoint"], text)).encode() + b"\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other process has gone
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, folder / _SOCKET)


async def _answer(load: Callable[[str], MicroBatcher], checkpoint: str, text: str) -> dict[str, Any]:
    """The logits of a text; without a text, the facts of the router."""
    try:
        router = await asyncio.to_thread(load, checkpoint)
        if not text:
            most = router.router.backbone.reader.most_chars
            return {
                "workers": router.workers,
                "roles": router.roles,
                "released": router.released,
                "most_chars": most,
            }
        return {"logits": (await router.logits([text]))[0].tolist()}
    except BadInput as error:
        return {"refused": str(error), "field": error.field}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


async def _ask(folder: Path, checkpoint: str, text: str = "") -> dict[str, Any]:
    content = text.encode()
    reader, writer = await asyncio.open_unix_connection(folder / _SOCKET)
    try:
        writer.write(json.dumps({"checkpoint": checkpoint, "bytes": len(content)}).encode() + b"\n" + content)
        await writer.drain()
        answer: dict[str, Any] = json.loads(await reader.readline())
    finally:
        writer.close()
    if "refused" in answer:
        raise BadInput(answer["refused"], answer["field"])
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return answer


class DistantRouter:
    """A router of the process that serves decisions in `folder`. Loads no weights and no torch here."""

    def __init__(self, folder: Path, checkpoint: str) -> None:
        """Must not be called within an event loop: it runs one."""
        self._folder, self._checkpoint = folder, checkpoint
        known = asyncio.run(_ask(folder, checkpoint))
        self.workers: tuple[str, ...] = tuple(known["workers"])
        self.roles: bool = known["roles"]
        self.released: str | None = known["released"]
        self._most_chars: int = known["most_chars"]

    async def decide(self, messages: Sequence[Message], allowed: Sequence[str] | None = None) -> Decision:
        """`Router.decide` in the other process; raises as it does."""
        started = time.perf_counter()
        mask = mask_of(allowed, self.workers, 1)
        text = await asyncio.to_thread(lambda: transcript.ends(transcript.text(messages), self._most_chars))
        logits = np.array([(await _ask(self._folder, self._checkpoint, text))["logits"]], np.float32)
        return decisions_on(logits, mask, self.workers, roles=self.roles, noise=None, started=started)[0]
