"""Build the plan writer and the other parts of a request run from the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from filelock import FileLock

from models.conductor.plan.taught import Taught
from models.conductor.plan.workflow import PlanLimits
from models.conductor.plan.writers import CheckpointWriter, FixedWriter, NoWriter, PlanWriter, PromptedWriter
from models.conductor.run import planner
from models.conductor.run.request import ConductParts, Rank
from models.errors import BadFile, BadInput
from models.files import staged_folder
from models.fugu.decision import best_first
from models.ledger import registry
from models.ledger.journal import Journal
from models.ledger.store import Ledger
from models.workers.ask import Message
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy
from tasks.loading import loading
from tasks.setup.checkpoint import serving
from tasks.setup.choice import NOBODY as WITHOUT
from tasks.setup.choice import Choice, choose, mean_labels
from tasks.setup.router import load_router
from tasks.setup.session import Session
from tasks.setup.settings import HOUSE, PROJECT, settings

if TYPE_CHECKING:
    from models.fugu.router import Router

log = logging.getLogger(__name__)

NOBODY: PlanWriter = FixedWriter("", name="nobody")
"""Plan writer for requests whose plans are recorded, so that no checkpoint is loaded or made."""

TRIES = RetryPolicy(tries=4)
"""Tries of a step on one worker, and of a plan; the ledger counts them over all processes."""


def open_policy(setting: str, ledger: Ledger, pool: Pool) -> PlanWriter:
    """The plan writer that FUGU_CONDUCTOR names: `house`, `worker:NAME`, `fixed:PATH` (a plan's text) or a folder.

    Empty: the one that `choose` chooses. Slow if a checkpoint is loaded or made: call it in a thread. Raises BadInput,
    also for a conductor that was taught another pool, BadFile, NotFound.
    """
    if not setting:
        choice = chosen(setting, ledger, pool)
        log.info(choice.line)
        setting = choice.setting
    if setting == WITHOUT:
        return NoWriter("the pool has no conductor, so one worker answers")
    known = cards(ledger, pool)
    kind, colon, rest = setting.partition(":")
    if setting == HOUSE:
        from models.house import conductor

        with loading("the house conductor"):
            return conductor.load(_taught(house_folder(), pool, known))
    if colon and kind == "worker":
        worker = pool.worker(rest)
        if worker.is_recorded:
            raise BadInput(f"worker {rest!r} has recorded scores only and cannot write plans", "FUGU_CONDUCTOR")
        return PromptedWriter(planner.asker(rest), name=setting)
    if colon and kind == "fixed":
        try:
            return FixedWriter(Path(rest).read_text(encoding="utf-8"), name=setting)
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(rest, f"cannot be read: {error}") from None
    folder = Path(setting)
    if not folder.is_dir():
        raise BadInput(f"no conductor {setting!r}: give house, worker:NAME, fixed:PATH or a folder", "FUGU_CONDUCTOR")
    with loading(f"the conductor {folder.name}"):
        return CheckpointWriter.load(_taught(folder, pool, known))


def chosen(setting: str, ledger: Ledger, pool: Pool) -> Choice:
    """Who plans where FUGU_CONDUCTOR is `setting`, and why. Raises BadFile, NotFound."""
    return choose(setting, pool, cards(ledger, pool), mean_labels(ledger, pool))


def _taught(folder: Path, pool: Pool, known: Mapping[str, str]) -> Path:
    """The conductor's folder. Raises BadInput where it was taught another pool."""
    if (why := Taught.read(folder).misfit(pool, known)) is not None:
        raise BadInput(f"{why}; FUGU_CONDUCTOR=worker:NAME asks one of its workers for plans", "FUGU_CONDUCTOR")
    return folder


def house_folder() -> Path:
    """The house conductor's folder: shipped with the data, or else made once in the home (minutes)."""
    from models.house import conductor

    for data in (settings().data, PROJECT / "data"):
        if (data / "conductor").is_dir():
            return data / "conductor"
    folder = settings().home / "conductors" / f"house-{conductor.DEFAULT.digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with loading("the house conductor, which is made once"), staged_folder(folder) as made:
                conductor.make(made)
    return folder


def cards(ledger: Ledger, pool: Pool) -> dict[str, str]:
    """Each worker's card for the conductor's prompt, from the labels; "" for a worker that was not measured."""
    from models.conductor.plan.prompt import cards as written
    from models.ledger.labels import labels

    frame = labels(ledger, pool=pool.name, workers={worker.name: worker.revision for worker in pool.workers})
    means: dict[str, dict[str, float]] = {name: {} for name in pool.names}
    for row in frame.groupby(["worker", "task"], as_index=False)["score"].mean().itertuples():
        means[str(row.worker)][str(row.task)] = float(row.score)
    return written(means)


def plan_limits() -> PlanLimits:
    """Limits on a plan, from the settings."""
    here = settings()
    return PlanLimits(here.max_steps, here.max_subtask_chars)


def champion_rank(ledger: Ledger, pool: Pool) -> Rank:
    """A function that orders workers by the `fugu` champion, best first; without a champion, in the pool's order.

    The champion is loaded on first use: most workflows need no replacement worker.
    """

    async def rank(messages: Sequence[Message], allowed: Sequence[str]) -> Sequence[str]:
        return await asyncio.to_thread(_ranked, ledger, pool, messages, allowed)

    return rank


def _ranked(ledger: Ledger, pool: Pool, messages: Sequence[Message], allowed: Sequence[str]) -> list[str]:
    champion = serving(ledger, "fugu", pool)
    if champion is None:
        return list(allowed)
    if champion.target["kind"] == "worker":
        return best_first(allowed, [champion.target["worker"]], [0.0])
    from models.fugu.rollout import ranking_transcript

    router = _router(ledger, champion.target["checkpoint"])
    decision = router.decide(ranking_transcript(messages, router))
    return best_first(allowed, router.workers, decision.worker_logits)


@lru_cache(maxsize=1)
def _router(ledger: Ledger, checkpoint: str) -> Router:
    """Load a router; the last one is cached, since a batch needs the same one repeatedly."""
    return load_router(registry.load_checkpoint(ledger, checkpoint))


@dataclass(frozen=True)
class Opened:
    """The parts of a session's request runs, and the journal of their writes."""

    parts: ConductParts
    journal: Journal

    async def close(self) -> None:
        await self.journal.close()


async def conductor_of(session: Session, conductor: str) -> Opened:
    """What the tasks of this process share for one plan writer, opened once. Raises like `open_policy`."""

    async def make() -> Opened:
        parts = await open_parts(session.ledger, session.pool, session.dispatcher, conductor)
        return Opened(parts, Journal(session.ledger))

    return cast(Opened, await session.keep(f"conductor {conductor}", make))


async def open_parts(ledger: Ledger, pool: Pool, dispatcher: Dispatcher, conductor: str | None) -> ConductParts:
    """The shared parts of request runs outside an endpoint. `conductor`: as for `open_policy`, `None` for no plan
    writer. Raises like `open_policy`."""
    policy, known = NOBODY, dict[str, str]()
    if conductor is not None:
        policy = await asyncio.to_thread(open_policy, conductor, ledger, pool)
        known = await asyncio.to_thread(cards, ledger, pool)
    rank = champion_rank(ledger, pool)
    return ConductParts(ledger, pool, dispatcher, policy, rank, known, plan_limits(), TRIES)
