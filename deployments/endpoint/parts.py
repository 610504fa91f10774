"""What an endpoint is made of, handed to `create_app`; `open_parts` takes it from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.ledger import registry
from models.ledger.store import Ledger
from models.workers.client import load_litellm
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy

if TYPE_CHECKING:
    from models.fugu.router import Router


@dataclass(frozen=True)
class Parts:
    """`load_router`: a checkpoint's id -> its router, in a thread. `warm`: slow imports, run before ready."""

    ledger: Ledger
    pool: Pool
    dispatcher: Dispatcher
    load_router: Callable[[str], Router]
    warm: Callable[[], object] = load_litellm


@dataclass(frozen=True)
class Options:
    """Seconds, bytes and turns."""

    poll_s: float = 1.0
    heartbeat_s: float = 10.0
    body_s: float = 60.0
    max_body_bytes: int = 32 * 2**20
    turns: int = 5
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "::1"})


DEFAULT = Options()

SERVING = RetryPolicy(tries=3, base_s=0.2, cap_s=2.0, patience_s=2.0)
"""Somebody waits: a worker that asks for longer than `patience_s` is reported, and the caller decides."""


def open_parts() -> Parts:
    """The ledger, the pool and the routers of this process's settings."""
    from tasks.route import load_router
    from tasks.settings import open_ledger, open_pool

    ledger, pool = open_ledger(), open_pool()

    def load(checkpoint: str) -> Router:
        return load_router(registry.load_checkpoint(ledger, checkpoint))

    return Parts(ledger, pool, Dispatcher(ledger, pool, retry=SERVING), load)
