"""Which checkpoint a flow means."""

from __future__ import annotations

from models.errors import NotFound
from models.ledger import registry
from models.ledger.registry import Checkpoint
from models.ledger.store import Ledger


def find_checkpoint(ledger: Ledger, wanted: str, *, kind: str, pool: str) -> Checkpoint:
    """The checkpoint with the id `wanted`, or the newest of `kind` ("warm", "evolved") for the pool.

    Raises NotFound, saying which flow makes one.
    """
    if wanted:
        return registry.load_checkpoint(ledger, wanted)
    newest = registry.newest_checkpoint(ledger, kind=kind, pool=pool)
    if newest is None:
        flow = "warm-start" if kind == "warm" else "evolve-router"
        raise NotFound(f"no {kind} router of pool {pool!r} yet: run the deployment {flow} first")
    return newest
