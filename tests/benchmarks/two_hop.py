"""Does a workflow answer what no worker answers alone: held-out two-hop questions, by `fugu-ultra` and its rivals.

All of it as it is served: the house conductor plans, the executor runs the steps through dispatcher, ledger and
litellm. The rivals, in the same run and over the same dispatcher: `fugu`, a router that is warm-started here from
labels of 400 other questions and answers by one ask, and the single worker that was best on those questions. Gains are
paired by question; their intervals are bootstrapped.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import beside  # noqa: F401 (tests/studies can be imported)
import numpy as np
import torch
from figures import shown
from pupil import held_out, training_questions
from reporting import report

from models.conductor.plan.workflow import Workflow, parse
from models.conductor.run.request import ConductAnswer, ConductRequest
from models.conductor.run.request_run import RequestRuns
from models.errors import FuguError
from models.evaluation.matrix import label_matrix
from models.evaluation.measure import ask_for, measure
from models.evaluation.metrics import paired
from models.fugu import vector as vectors
from models.fugu.forward.layout import layout_for
from models.fugu.learn.warm_start import fit_head
from models.fugu.loop import LoopOptions
from models.fugu.rollout import first_transcript
from models.fugu.router import Router
from models.grading.grade import grade
from models.grading.question import Question
from models.house import backbone
from models.ledger import registry
from models.ledger.epochs import open_epoch, put_questions
from models.ledger.labels import Cell, labels
from models.ledger.store import Ledger
from models.workers.ask import Sampling, seed_for
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from tasks.setup.conductor import open_parts
from tasks.setup.questions import digests
from tasks.setup.router import first_texts, load_backbone, load_router
from tasks.setup.settings import HOUSE, open_ledger, open_pool, settings

QUESTIONS, TRAIN = 400, 400
AT_ONCE = 16
RECIPE = backbone.DEFAULT
"""That of the preset `first-light`."""


async def measured(ledger: Ledger, pool: Pool, dispatcher: Dispatcher, questions: Sequence[Question]) -> np.ndarray:
    """Every worker's score on every question, [Q, L], asked once and kept as labels."""
    rows = [{"body": q.model_dump(mode="json"), "digest": q.digest} | q.model_dump(include=KEPT) for q in questions]
    put_questions(ledger, "two-hop", rows)
    epoch = open_epoch(ledger, pool.name, "two-hop")
    cells = [Cell(q.id, worker.name, worker.revision, 0, epoch) for q in questions for worker in pool.workers]
    await measure(cells, {q.id: q for q in questions}, ledger=ledger, dispatcher=dispatcher)
    ids, revisions = [question.id for question in questions], {w.name: w.revision for w in pool.workers}
    frame = labels(ledger, pool=pool.name, questions=digests(questions), workers=revisions)
    return label_matrix(frame, ids, pool.names)


KEPT = {"id", "task", "split", "tags"}


def champion(ledger: Ledger, pool: Pool, home: Path, train: Sequence[Question], scores: np.ndarray) -> Router:
    """A router whose head is fitted to the labels, promoted, and loaded again as the endpoint would."""
    path = str(backbone.make(home, RECIPE).relative_to(home))
    base = load_backbone(path, home)
    length = layout_for(base.decoder, "head").length(len(pool.workers), base.width)
    blank = Router.from_vector(base, np.zeros(length, np.float32), pool.names, roles=False, layout="head")
    head = fit_head(blank.states(first_texts(train, blank)), scores, [question.task for question in train])
    blank.install(vectors.join(np.zeros(0, np.float32), head.weights))
    meta = blank.meta | {"kind": "warm", "pool": pool.name, "backbone": path}
    checkpoint = registry.save_checkpoint(ledger, name="two-hop", vector=blank.vector, meta=meta)
    registry.promote(ledger, "fugu", {"kind": "router", "checkpoint": checkpoint}, "benchmark")
    print(f"router: cross-validated score {head.chosen.score:.3f} on {len(train)} train questions")
    return load_router(registry.load_checkpoint(ledger, checkpoint))


def routed(router: Router, questions: Sequence[Question]) -> list[str]:
    """Who is asked each question, once."""
    options = LoopOptions(roles=False)
    read = [first_transcript(question.messages, len(router.workers), options) for question in questions]
    return [router.decide(messages).worker for messages in read]


async def answered(
    dispatcher: Dispatcher, pool: Pool, questions: Sequence[Question], workers: Sequence[str], scope: str
) -> np.ndarray:
    """The scores of one ask a question."""
    asks = [
        ask_for(question, name, pool.worker(name).revision, 0, scope)
        for question, name in zip(questions, workers, strict=True)
    ]
    replies = await dispatcher.ask_all(asks)
    texts = ["" if isinstance(reply, FuguError) else reply.text or "" for reply in replies]
    return np.array([grade(question, text).score for question, text in zip(questions, texts, strict=True)])


async def conducted(request_runs: RequestRuns, pool: Pool, questions: Sequence[Question]) -> list[ConductAnswer]:
    """Each question by a workflow."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(question: Question) -> ConductAnswer:
        request = ConductRequest(
            id=f"two-hop-{question.id}",
            messages=tuple(dict(message) for message in question.messages),
            allowed=pool.names,
            sampling=Sampling(seed=seed_for(question.id, 0)),
        )
        async with gate:
            return await request_runs.open(request).answer()

    return list(await asyncio.gather(*map(one, questions)))


def tell(found: Sequence[ConductAnswer]) -> float:
    """Print what the plans were; the share of first texts that parse."""
    rounds = [one.trace["rounds"][0] for one in found]
    parsed = sum(isinstance(parse(told["texts"][0]), Workflow) for told in rounds)
    first = sum(told["fallback"] is None and len(told["texts"]) == 1 for told in rounds)
    steps = Counter(len(told["steps"]) for told in rounds if told["fallback"] is None)
    print(f"{parsed} of {len(rounds)} plans parse, {first} are legal as they are first written; steps: {dict(steps)}")
    print(f"calls a question: {np.mean([one.calls for one in found]):.2f}")
    return parsed / len(rounds)


def gain(name: str, ours: np.ndarray, rival: np.ndarray) -> dict[str, float]:
    """The mean difference and the lower end of its 95 % interval."""
    gaps = ours - rival
    found = paired(gaps)
    print(f"fugu-ultra over {name}: {shown(found)}, n = {len(gaps)}")
    return {f"ultra_over_{name}": round(found.value, 4), f"ultra_over_{name}_low": round(found.low, 4)}


async def run() -> None:
    started = time.monotonic()
    questions = held_out(QUESTIONS, 0)
    train = training_questions(0, TRAIN, 0.3, questions)
    pool, ledger = open_pool("house"), open_ledger()
    ledger.create_schema()
    dispatcher = Dispatcher(ledger, pool)
    on_train = await measured(ledger, pool, dispatcher, train)
    router = await asyncio.to_thread(champion, ledger, pool, settings().home, train, on_train)
    request_runs = RequestRuns(await open_parts(ledger, pool, dispatcher, HOUSE))
    try:
        found = await conducted(request_runs, pool, questions)
        ultra = np.array([grade(q, one.text or "").score for q, one in zip(questions, found, strict=True)])
        chosen = await asyncio.to_thread(routed, router, questions)
        fugu = await answered(dispatcher, pool, questions, chosen, "fugu")
        alone = {
            name: await answered(dispatcher, pool, questions, [name] * len(questions), "alone") for name in pool.names
        }
    finally:
        await request_runs.close()
        await dispatcher.close()
        ledger.close()
    best = pool.names[int(on_train.mean(axis=0).argmax())]
    print("alone, held out:", {name: round(float(scores.mean()), 4) for name, scores in alone.items()}, "best:", best)
    print("fugu asks:", dict(Counter(chosen)))
    figures = {"n": len(questions), "plans_that_parse": round(tell(found), 4)}
    figures |= {"ultra": round(float(ultra.mean()), 4), "fugu": round(float(fugu.mean()), 4)}
    figures |= {"best_single": round(float(alone[best].mean()), 4)}
    figures |= gain("best_single", ultra, alone[best]) | gain("fugu", ultra, fugu)
    figures |= {"minutes": round((time.monotonic() - started) / 60, 1)}
    bounds: dict[str, Sequence[object]] = {"plans_that_parse": (">=", 0.99)}
    for rival in ("best_single", "fugu"):
        bounds |= {f"ultra_over_{rival}": (">=", 0.2), f"ultra_over_{rival}_low": (">", 0.0)}
    report("two_hop", figures, bounds)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in os.environ if name.startswith("FUGU_")]:
            del os.environ[name]
        os.environ["FUGU_HOME"] = str(Path(folder).resolve())
        asyncio.run(run())


if __name__ == "__main__":
    main()
