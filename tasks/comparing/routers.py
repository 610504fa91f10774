"""A pool's routers on its labelled questions: what they choose, what that scores, and how far they can be relied on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.baselines import Part
from models.evaluation.calibration import Calibration, calibration, expected_scores
from models.evaluation.contamination import contaminated
from models.evaluation.families import families
from models.evaluation.latency import FIRST, MOST, Latency
from models.evaluation.matrix import label_matrix
from models.evaluation.metrics import Entry, entry
from models.evaluation.noise import CORRECTED, ONCE, ORACLE_CORRECTED, by_repeat
from models.evaluation.perturbations import KINDS, perturbed, sampled
from models.evaluation.robustness import Flips, flips
from models.fugu.head import SCORE_PER_LOGIT
from models.fugu.router import Router
from models.grading.question import Question
from models.ledger.labels import labels, scores_by_repeat
from models.ledger.registry import Checkpoint
from models.workers.pool import Pool
from tasks.comparing.deciding import decision_latency
from tasks.pages.reliability import Reliability
from tasks.setup.questions import digests
from tasks.setup.router import first_texts
from tasks.setup.session import Session


async def measured(session: Session, router: Router, questions: list[Question]) -> Part:
    """Scores, costs and tokens from the labels, and the backbone's unadapted states of the router's input as features.
    Where no reply has tokens, they are not known."""
    ids, names = [q.id for q in questions], session.pool.names
    revisions = {w.name: w.revision for w in session.pool.workers}
    pool, of = session.pool.name, digests(questions)
    frame, each = [
        await asyncio.to_thread(read, session.ledger, pool=pool, questions=of, workers=revisions)
        for read in (labels, scores_by_repeat)
    ]
    place, column = ({name: at for at, name in enumerate(found)} for found in (ids, names))
    asked, by = each["question_id"].map(place).to_numpy(np.intp), each["worker"].map(column).to_numpy(np.intp)
    prompt, completion = (label_matrix(frame, ids, names, f"{part}_tokens") for part in ("prompt", "completion"))
    used = prompt + completion
    return Part(
        scores=label_matrix(frame, ids, names),
        features=await asyncio.to_thread(router.backbone.features, first_texts(questions, router)),
        tasks=np.array([q.task for q in questions]),
        costs=label_matrix(frame, ids, names, "cost_usd"),
        tokens=used if used.any() else None,
        repeats=by_repeat(asked, by, each["score"].to_numpy(float), (len(ids), len(names))),
    )


async def fugu_entry(name: str, router: Router, questions: list[Question], test: Part, pool: Pool) -> Entry:
    """`fugu`'s row. It asks one worker once, so its scores are labels."""
    return chosen_by(name, await logits_of(router, questions, pool), test)


def chosen_by(name: str, logits: NDArray[np.float32], test: Part) -> Entry:
    """`fugu`'s row by a router's logits [Q, W]."""
    return entry(f"fugu ({name})", logits.argmax(axis=1), test.scores, test.costs, test.tokens)


async def logits_of(router: Router, questions: Sequence[Question], pool: Pool) -> NDArray[np.float32]:
    """The router's logits [Q, W] before the first turn, in the pool's order; minus infinity for strangers."""
    found = np.full((len(questions), len(pool.workers)), -np.inf, np.float32)
    logits = await asyncio.to_thread(router.logits, first_texts(questions, router))
    found[:, columns_of(router.workers, pool)] = logits[:, : len(router.workers)]
    return found


def columns_of(workers: Sequence[str], pool: Pool) -> NDArray[np.intp]:
    """The pool's index [L] of each of a router's workers, whose order may be another one."""
    return np.array([pool.indices[name] for name in workers])


async def flips_of(
    router: Router, questions: Sequence[Question], logits: NDArray[np.float32], test: Part, pool: Pool
) -> list[Flips]:
    """What perturbed forms of some of the questions change in the router's choices. logits [Q, W]: on all of them, as
    they are."""
    places, found = sampled([question.digest for question in questions]), []
    before = entry("", logits[places].argmax(axis=1), test.scores[places])
    asked = [questions[at] for at in places]
    for kind in KINDS:
        other = [each.model_copy(update={"messages": perturbed(each.messages, kind)}) for each in asked]
        choices = (await logits_of(router, other, pool)).argmax(axis=1)
        found.append(flips(kind, before, entry("", choices, test.scores[places])))
    return found


def calibration_of(checkpoint: Checkpoint, logits: NDArray[np.float32], test: Part, level: float) -> Calibration | None:
    """Of the scores that a router expects; None for one that expects none, such as an evolved one. logits [Q, L] and
    `test`: of its own workers, in its order; level: the mean score on train."""
    meta, best = checkpoint.meta, logits.argmax(axis=1)[:, None]
    if "head" in meta:
        expected = expected_scores(logits, SCORE_PER_LOGIT)
    elif meta["kind"] == "warm" and "temperature" in meta:
        expected = expected_scores(logits, meta["temperature"], level)
    else:
        return None
    chosen, scored = (np.take_along_axis(each, best, axis=1)[:, 0] for each in (expected, test.scores))
    return calibration(chosen, scored)


async def reliability(
    pool: Pool,
    routers: Mapping[str, tuple[Router, Checkpoint, NDArray[np.float32]]],
    questions: Sequence[Question],
    test: Part,
    entries: Sequence[Entry],
    taught: Sequence[Question],
    level: float,
) -> Reliability:
    """What a comparison says beside scores, of each router (with its checkpoint, and its logits [Q, W] on the held-out
    `questions`). `entries`: of these questions; `taught`: the train questions, whose mean score is `level`."""
    calibrations: dict[str, Calibration] = {}
    changed: dict[str, list[Flips]] = {}
    latencies: dict[str, Latency] = {}
    for name, (router, checkpoint, logits) in routers.items():
        own = columns_of(router.workers, pool)
        part = Part(test.scores[:, own], test.features, test.tasks, test.costs[:, own])
        row = f"fugu ({name})"
        if (found := calibration_of(checkpoint, logits[:, own], part, level)) is not None:
            calibrations[row] = found
        changed[row] = await flips_of(router, questions, logits, test, pool)
        asked = [question.messages for question in questions[: MOST + FIRST]]
        if (took := await asyncio.to_thread(decision_latency, router, asked)) is not None:
            latencies[row] = took
    names = [each.name for each in entries]
    shown = [name for name in names if name.startswith(("fugu (", "trinity ("))]
    both = contaminated(map(_text, taught), [_text(question) for question in questions])
    notes = [
        f"{both} of {len(questions):,} held-out texts are train texts, too, but for case and spaces.",
        CORRECTED if ORACLE_CORRECTED in names else ONCE,
    ]
    return Reliability(families(entries, test.tasks, shown), calibrations, changed, latencies, notes)


def _text(question: Question) -> str:
    from models.fugu import transcript

    return transcript.text(question.messages)
