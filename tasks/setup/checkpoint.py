"""Find checkpoints by id or kind, and the champion that serves a pool."""

from __future__ import annotations

from models.errors import BadInput, NotFound
from models.ledger import registry
from models.ledger.registry import Champion, Checkpoint
from models.ledger.store import Ledger
from models.workers.pool import Pool

MODELS = ("fugu", "trinity")
"""The served models that have a champion: `fugu` asks one worker, `trinity` runs the loop."""


def serving(ledger: Ledger, model: str, pool: Pool) -> Champion | None:
    """The champion of `model`, or `None` if there is none yet or it was promoted on another pool.

    A router's rows are workers in the pool's order, so a router trained on other workers cannot serve the pool.
    """
    champion = registry.champion(ledger, model)
    if champion is None:
        return None
    if champion.target["kind"] == "worker":
        return champion if champion.target["worker"] in pool.names else None
    checkpoint = registry.load_checkpoint(ledger, champion.target["checkpoint"])
    return champion if fits(checkpoint, pool) else None


def fits(checkpoint: Checkpoint, pool: Pool) -> bool:
    """Whether the checkpoint's rows are the pool's workers, in the same order."""
    return tuple(checkpoint.meta["workers"]) == pool.names


def find_checkpoint(ledger: Ledger, wanted: str, *, kind: str, pool: Pool) -> Checkpoint:
    """The checkpoint with the id `wanted`, or the newest of `kind` ("warm", "evolved") for the pool.

    Raises NotFound, naming the flow that makes one; BadInput if it was trained on other workers.
    """
    if wanted:
        found: Checkpoint | None = registry.load_checkpoint(ledger, wanted)
    else:
        found = registry.newest_checkpoint(ledger, kind=kind, pool=pool.name)
    if found is None:
        flow = "warm-start" if kind == "warm" else "evolve-router"
        raise NotFound(f"no {kind} router of pool {pool.name!r} yet: run the deployment {flow} first")
    if not fits(found, pool):
        workers = ", ".join(found.meta["workers"])
        raise BadInput(
            f"checkpoint {found.id[:12]} was trained on other workers ({workers}) than those of pool {pool.name!r}"
        )
    return found
