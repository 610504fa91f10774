"""Let a new worker join the router that serves, with few labels: its numbers are fitted, all others stay as they are.

The worker is measured on a part of the train questions; its scores on the others are predicted from the other workers'
(`models.fugu.learn.onboard`). Then the gate: on held-out questions the router with the worker is compared with the one
without, and the worker is measured there only where it would be asked: elsewhere both choose the same. A worker that
leaves the pool needs no flow: it is masked at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger
from pydantic import Field

from flows.refresh_labels import Refresh, label_worker
from models.errors import BadInput, NotFound
from models.evaluation.groups import HELD_OUT
from models.evaluation.matrix import label_matrix
from models.evaluation.metrics import Interval, paired
from models.fugu.learn.onboard import chosen, with_worker
from models.fugu.router import Router
from models.grading.question import Question
from models.ledger import labels, registry
from models.ledger.epochs import put_workers
from models.ledger.registry import Checkpoint
from tasks import parameters
from tasks.pages.report import Progress, publish
from tasks.quiet import Live, flow
from tasks.setup.checkpoint import serving
from tasks.setup.preset import PresetName, load_preset
from tasks.setup.questions import QuestionSet, can_be_asked, digests, load_set, wanted_cells
from tasks.setup.router import first_texts, load_router
from tasks.setup.session import Session, open_session
from tasks.setup.settings import HOUSE
from tasks.thrift import knob_of

MODEL = "fugu"
"""The model whose router a worker joins: one that asks a single worker can be judged by labels alone."""


@dataclass(frozen=True)
class Joined:
    """The router with the new worker. `gain`: on `count` held-out questions over the router without it, which `asked`
    of them it would be asked. `measured`: train questions of the worker."""

    router: Router
    measured: int
    asked: int
    count: int
    gain: Interval

    @property
    def passed(self) -> bool:
        return self.gain.low > 0


@flow(name="onboard-worker", flow_run_name="{worker} joins {pool}")
async def onboard_worker(
    worker: str = Field(description="name of the new worker, an entry of the pool file"),
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    share: float = Field(0.2, gt=0, le=1, description="share of the train questions that the worker is measured on"),
    promote: bool = Field(True, description="let the router with the worker serve, if it passes the gate"),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> str:
    """Returns the id of the checkpoint with the worker. Raises NotFound where no router serves, BadInput for a worker
    that the router or the pool has not, or has already."""
    plan = load_preset(preset)
    async with open_session(pool, max_usd) as session:
        questions_of = load_set(questions, plan.questions, session.ledger).require("train", "test")
        origin = _origin(session, worker)
        await asyncio.to_thread(can_be_asked, session.pool, questions_of)
        joined = await _join(session, origin, worker, questions_of, share, plan.repeats)
        meta = origin.meta | joined.router.meta | {"kind": "onboarded", "parent": origin.id, "worker": worker}
        meta |= await knob_of(session, joined.router, joined.router.vector, questions_of, plan)
        name = f"{worker} on {session.pool.name}"
        saved = registry.save_checkpoint(session.ledger, name=name, vector=joined.router.vector, meta=meta)
        serves = joined.passed and promote
        line = _line(worker, joined, serves)
        if serves:
            registry.promote(session.ledger, MODEL, {"kind": "router", "checkpoint": saved}, line)
        await publish("onboarding", line)
        get_run_logger().info("%s", line)
    return saved


def _origin(session: Session, worker: str) -> Checkpoint:
    if worker not in session.pool.names:
        raise BadInput(f"pool {session.pool.name!r} has no worker {worker!r}: add it to the pool file first", "worker")
    if session.pool.worker(worker).is_recorded:
        raise BadInput(f"worker {worker!r} is known from recorded scores only: it cannot be measured", "worker")
    champion = serving(session.ledger, MODEL, session.pool)
    if champion is None or champion.target["kind"] != "router":
        raise NotFound(f"no router serves {MODEL} on pool {session.pool.name!r}: there is none to join")
    found = registry.load_checkpoint(session.ledger, champion.target["checkpoint"])
    if worker in found.meta["workers"]:
        raise BadInput(f"the router that serves knows the worker {worker!r} already", "worker")
    return found


async def _join(
    session: Session, origin: Checkpoint, worker: str, questions_of: QuestionSet, share: float, repeats: int
) -> Joined:
    before, train = await asyncio.to_thread(load_router, origin), questions_of.split("train")
    some = chosen([question.task for question in train], max(2, round(share * len(train))))
    await _measure(session, worker, questions_of, [train[at] for at in some], repeats)
    known = _labels(session, before.workers, train, holes=False)
    own = np.full(len(train), np.nan)
    own[some] = _labels(session, [worker], [train[at] for at in some], holes=False)[:, 0]
    states = await asyncio.to_thread(before.states, first_texts(train, before))
    tasks = [question.task for question in train]
    after = await asyncio.to_thread(with_worker, before, worker, states, known, tasks, own)
    held_out = questions_of.split(*HELD_OUT)
    first, then = [await _choices(router, held_out) for router in (before, after)]
    asked = np.flatnonzero(then == len(before.workers))
    await _measure(session, worker, questions_of, [held_out[at] for at in asked], repeats)
    scores = _labels(session, before.workers, held_out, holes=False)
    scores = np.concatenate([scores, _labels(session, [worker], held_out, holes=True)], axis=1)
    rows = np.arange(len(held_out))
    gain = paired(scores[rows, then] - scores[rows, first])
    return Joined(after, len(some), len(asked), len(held_out), gain)


async def _choices(router: Router, questions: Sequence[Question]) -> NDArray[np.intp]:
    logits = await asyncio.to_thread(router.logits, first_texts(questions, router))
    return logits[:, : len(router.workers)].argmax(axis=1)


async def _measure(
    session: Session, worker: str, questions_of: QuestionSet, some: Sequence[Question], repeats: int
) -> None:
    """Ask the worker what it was not asked yet."""
    if not some:
        return
    put_workers(session.ledger, [{"name": worker, "revision": session.pool.worker(worker).revision, "recorded": False}])
    wanted = await asyncio.to_thread(wanted_cells, session.ledger, session.pool, questions_of, repeats)
    mine = {"questions": digests(some), "workers": {worker: session.pool.worker(worker).revision}}
    cells = labels.missing(session.ledger, **wanted | mine)
    if cells:
        shared = Refresh(session.access, questions_of, await Progress.start("labelling", len(cells)))
        await label_worker(worker, len(cells), Live(cells), Live(shared))


def _labels(session: Session, workers: Sequence[str], some: Sequence[Question], *, holes: bool) -> NDArray[np.float64]:
    revisions = {name: session.pool.worker(name).revision for name in workers}
    frame = labels.labels(session.ledger, pool=session.pool.name, questions=digests(some), workers=revisions)
    return label_matrix(frame, [question.id for question in some], workers, holes=holes)


def _line(worker: str, joined: Joined, serves: bool) -> str:
    """What came of it, and what to do next, as a paragraph."""
    gain = f"{joined.gain.value:+.4f} [{joined.gain.low:+.4f}, {joined.gain.high:+.4f}]"
    found = (
        f"{worker} was measured on {joined.measured:,} train questions, and would be asked {joined.asked:,} of "
        f"{joined.count:,} held-out ones: {gain} over the router without it."
    )
    if serves:
        return f"{found} The router with it serves now; `fugu rollback` goes back."
    then = "it passes the gate, and `promote` would let it serve" if joined.passed else "the router without it stays"
    return f"{found} So {then}; `measure-learn-serve` measures all and learns anew."
