"""Find checkpoints by id or kind, and the champion that serves a pool; seat a worker where nothing was measured."""

from __future__ import annotations

from models.errors import BadInput, NotFound
from models.ledger import registry
from models.ledger.registry import Champion, Checkpoint
from models.ledger.store import Ledger
from models.workers.pool import Pool, Worker

MODELS = ("fugu", "trinity")
"""The served models that have a champion: `fugu` asks one worker, `trinity` runs the loop."""

CHEAPEST = "cheapest"
"""In place of a worker's name: the one with the lowest prices."""

UNMEASURED = "nothing was measured"
"""How the reason begins for which such a worker serves. The first comparison does not have to beat it."""


def serving(ledger: Ledger, model: str, pool: Pool) -> Champion | None:
    """The champion of `model`, or `None` if there is none yet or it can choose nobody of this pool.

    A router's choices are names: it serves a pool in another order, and one with more workers or fewer.
    """
    champion = registry.champion(ledger, model)
    if champion is None:
        return None
    if champion.target["kind"] == "worker":
        return champion if champion.target["worker"] in pool.names else None
    checkpoint = registry.load_checkpoint(ledger, champion.target["checkpoint"])
    return champion if set(checkpoint.meta["workers"]) & set(pool.names) else None


def fits(checkpoint: Checkpoint, pool: Pool) -> bool:
    """Whether the checkpoint's rows are the pool's workers, in the same order: such a router can be learned further."""
    return tuple(checkpoint.meta["workers"]) == pool.names


def find_checkpoint(ledger: Ledger, wanted: str, *, kind: str, pool: Pool) -> Checkpoint:
    """The checkpoint with the id `wanted`, or the newest of `kind` ("warm", "evolved", "tasks") for the pool.

    Raises NotFound, naming the flow that makes one; BadInput if it was trained on other workers, or has a head of
    tasks where rows are wanted.
    """
    if wanted:
        found: Checkpoint | None = registry.load_checkpoint(ledger, wanted)
    else:
        found = registry.newest_checkpoint(ledger, kind=kind, pool=pool.name)
    if found is None:
        flow = "evolve-router" if kind == "evolved" else "warm-start"
        raise NotFound(f"no {kind} router of pool {pool.name!r} yet: run the deployment {flow} first")
    if not fits(found, pool):
        workers = ", ".join(found.meta["workers"])
        raise BadInput(
            f"checkpoint {found.id[:12]} was trained on other workers ({workers}) than those of pool {pool.name!r}"
        )
    if kind != "tasks" and "head" in found.meta:
        raise BadInput(f"checkpoint {found.id[:12]} has a head of tasks: there are no rows in it to train further")
    return found


def is_unmeasured(champion: Champion) -> bool:
    """Whether the champion was seated without a measurement."""
    return champion.reason.startswith(UNMEASURED)


def seat(ledger: Ledger, pool: Pool, wanted: str | None = None) -> str | None:
    """Let a worker serve the models that nothing serves on this pool; returns its name, or `None` if nothing changed.

    `wanted`: a worker's name, or "cheapest"; it serves all models, also in place of a router. Without one it is the
    first that can be asked. Raises BadInput for an unknown or recorded one, MissingKey where none can be asked.
    """
    lacking = [model for model in MODELS if wanted is not None or serving(ledger, model, pool) is None]
    if not lacking:
        return None
    worker, why = chosen(pool, wanted)
    target = {"kind": "worker", "worker": worker.name}
    found = {model: registry.champion(ledger, model) for model in lacking}
    changed = [model for model, champion in found.items() if champion is None or champion.target != target]
    for model in changed:
        registry.promote(ledger, model, target, f"{UNMEASURED}: {why}")
    return worker.name if changed else None


def chosen(pool: Pool, wanted: str | None) -> tuple[Worker, str]:
    """The worker to seat, and why. Raises as `seat` does."""
    if wanted is not None and wanted != CHEAPEST:
        if wanted not in pool.names:
            raise BadInput(f"--serve: the pool has no worker {wanted!r}; it has {', '.join(pool.names)}", "serve")
        worker = pool.worker(wanted)
        if worker.is_recorded:
            raise BadInput(f"--serve: worker {wanted!r} is known from recorded scores only", "serve")
        worker.check_keys()
        return worker, "named by --serve"
    askable = [worker for worker in pool.workers if worker.is_askable]
    if not askable:
        pool.check_keys()  # names the variable
        raise BadInput(f"pool {pool.name!r} has recorded scores only: nothing can serve", "pool")
    if wanted == CHEAPEST:
        return min(askable, key=_price), "the cheapest worker"
    return askable[0], "the pool's first worker that can be asked"


def _price(worker: Worker) -> float:
    """USD of a million tokens, in and out."""
    return 0.0 if worker.price is None else worker.price.input_per_million + worker.price.output_per_million
