"""Compare routers with all baselines on held-out questions; promote a router only if it passes the gate.

The rows: each worker alone, the best single worker (chosen on train), random, the task table, kNN on the same features,
the oracle, the warm-started, the evolved and the by-task router, as `fugu` (one ask) and as `trinity` (the loop). The
columns: mean with 95 % paired bootstrap interval, oracle gap closed, cost per 1,000, worker shares. Questions in seen
phrasings, in unseen phrasings and two-hop questions have separate tables. The routers come before the gate in the order
of their scores on the validation questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger
from pydantic import Field

from models.errors import RecordedWorker
from models.evaluation.baselines import BEST_SINGLE, Part, baselines, best_single
from models.evaluation.gate import Verdict, gate
from models.evaluation.groups import GROUPS, HELD_OUT, SEEN, group_of
from models.evaluation.metrics import Entry
from models.evaluation.spending import Spending, at_settings, spending
from models.fugu.thrift import CostKnob
from models.fugu.vector import Vector
from models.ledger import epochs, registry
from tasks import parameters
from tasks.candidate import roll_out
from tasks.comparing.judged import judged_by, keep
from tasks.comparing.routers import chosen_by, columns_of, fugu_entry, logits_of, measured, reliability
from tasks.pages.comparison import comparison_page
from tasks.pages.reliability import Reliability
from tasks.quiet import flow
from tasks.seen import seen_by_all
from tasks.setup.checkpoint import MODELS, find_checkpoint, fits, is_unmeasured, serving
from tasks.setup.preset import Preset, PresetName, load_preset
from tasks.setup.questions import QuestionSet, load_set, located
from tasks.setup.router import load_router
from tasks.setup.runner import result_of
from tasks.setup.scoring import Recipe
from tasks.setup.session import Session, open_session
from tasks.setup.settings import HOUSE


@flow(name="compare-pool", flow_run_name="compare {pool}")
async def compare_pool(
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    warm: str = Field("", description="warm-started checkpoint; empty: the pool's newest"),
    evolved: str = Field("", description="evolved checkpoint; empty: the pool's newest"),
    promote: bool = Field(False, description="let a router that passes the gate become the champion"),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> dict[str, str]:
    """Returns the gate's line for each model: its champion, and why."""
    plan = load_preset(preset)
    async with open_session(pool, max_usd) as session:
        questions_of = await seen_by_all(session, load_set(questions, plan.questions, session.ledger))
        questions_of.require("train", "test")
        recorded = session.pool.is_recorded
        if promote and recorded:
            raise RecordedWorker(f"pool {session.pool.name!r} has recorded scores only: no model can be served on it")
        checkpoints = {"warm start": find_checkpoint(session.ledger, warm, kind="warm", pool=session.pool)}
        if evolved or not recorded:  # recorded workers cannot be rolled out, so nothing was evolved
            found = find_checkpoint(session.ledger, evolved, kind="evolved", pool=session.pool)
            checkpoints = {"evolved": found} | checkpoints
        if (by_task := registry.newest_checkpoint(session.ledger, kind="tasks", pool=session.pool.name)) is not None:
            checkpoints |= {"by task": by_task} if fits(by_task, session.pool) else {}
        comparison = await _compare(session, located(questions), questions_of, checkpoints, plan)
        ids = {name: checkpoint.id for name, checkpoint in checkpoints.items()}
        models = MODELS[:1] if recorded else MODELS
        judged = {model: _judge(session, comparison, model, ids, promote) for model in models}
        lines = {model: each.line for model, each in judged.items()}
        for line in lines.values():
            get_run_logger().info(line)
        routers = [each.row if each.promoted else f"{model} ({next(iter(ids))})" for model, each in judged.items()]
        rows = await comparison_page(
            comparison.tables,
            session.pool.names,
            _verdict(judged, promote),
            routers,
            list(lines.values()),
            knobs=comparison.knobs,
            relied=comparison.relied,
        )
        for model, each in judged.items():
            for checkpoint, verdict in each.verdicts.items():
                judgement = judged_by(verdict, session.pool, questions_of.name, rows)
                await asyncio.to_thread(keep, checkpoint, model, judgement)
    return lines


@dataclass
class Comparison:
    """`tables`: the entries of each group of questions. `best`: the best single worker, chosen on train. `validated`:
    the routers' mean scores on the validation questions, by row. `knobs`: what the one between quality and cost is
    worth, of each router that has one. `relied`: what the first group says beside scores."""

    best: str
    validated: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[Entry]] = field(default_factory=dict)
    serving: dict[str, str | None] = field(default_factory=dict)
    knobs: dict[str, Spending] = field(default_factory=dict)
    relied: Reliability = field(default_factory=Reliability)


async def _compare(
    session: Session,
    questions: str,
    questions_of: QuestionSet,
    checkpoints: Mapping[str, registry.Checkpoint],
    plan: Preset,
) -> Comparison:
    contenders = dict(checkpoints)
    present = {model: _serving(session, model, contenders) for model in MODELS}
    routers = {name: await asyncio.to_thread(load_router, checkpoint) for name, checkpoint in contenders.items()}
    reader = next(iter(routers.values()))
    train = await measured(session, reader, questions_of.split("train"))
    comparison = Comparison(session.pool.names[best_single(train)], serving=present)
    asked = [question for question in questions_of.questions if group_of(question)]
    test = await measured(session, reader, asked)
    ranked_by = questions_of.split("validation")
    validation = await measured(session, reader, ranked_by)
    entries = await asyncio.to_thread(baselines, train, test, session.pool.names)
    epoch = epochs.open_epoch(session.ledger, session.pool.name, questions_of.name)
    logits = {name: await logits_of(router, asked, session.pool) for name, router in routers.items()}
    for name, router in routers.items():
        before = [await fugu_entry(name, router, ranked_by, validation, session.pool)]
        entries.append(chosen_by(name, logits[name], test))
        if router.roles:
            of = (session.access, contenders[name].id, questions, plan.questions, questions_of.name, epoch)
            for parts, most, found in ((HELD_OUT, None, entries), (("validation",), plan.evolution.validation, before)):
                recipe = Recipe(*of, parts, most, repeats=plan.repeats)
                found.append(await _trinity(session, name, recipe, router.vector, router.workers))
        comparison.validated |= {each.name: float(each.scores.mean()) for each in before}
    group = np.array([group_of(question) for question in asked])
    for name in GROUPS:
        if (rows := group == name).any():
            comparison.tables[name] = [each.rows(rows) for each in entries]
    seen = group == next(iter(comparison.tables))
    known = {each.name: each for each in next(iter(comparison.tables.values()))}
    for name, router in routers.items():
        knob = CostKnob.of(contenders[name].meta.get("cost"))
        if knob is not None:
            alone = [known[row] for row in (*session.pool.names, BEST_SINGLE)]
            columns = columns_of(router.workers, session.pool)
            worth = await asyncio.to_thread(_worth, knob, logits[name][seen], columns, test.rows(seen), alone)
            comparison.knobs |= {} if worth is None else {f"fugu ({name})": worth}
    each = {name: (router, contenders[name], logits[name][seen]) for name, router in routers.items()}
    held_out, taught = [asked[at] for at in np.flatnonzero(seen)], questions_of.split("train")
    level, shown = float(train.scores.mean()), list(known.values())
    comparison.relied = await reliability(session.pool, each, held_out, test.rows(seen), shown, taught, level)
    return comparison


def _worth(
    knob: CostKnob, logits: NDArray[np.float32], columns: NDArray[np.intp], test: Part, alone: Sequence[Entry]
) -> Spending | None:
    """What a router's knob is worth. logits [Q, W] in the pool's order; columns [L]: of the router's workers; alone:
    each worker's own entries, and that of the best single one."""

    def penalty(setting: float) -> NDArray[np.float32]:
        found = np.zeros(logits.shape[1], np.float32)
        found[columns] = knob.penalty(setting)
        return found

    *workers, best = alone
    curve = at_settings("fugu", logits, penalty, test.scores, test.costs)
    return spending(curve, workers, int(best.shares.mean(axis=0).argmax()))


def _serving(session: Session, model: str, contenders: dict[str, registry.Checkpoint]) -> str | None:
    """The row name of the current champion, or `None` if there is none, it was seated without a measurement or may
    choose workers that have left the pool; its router is added to the contenders if it is not one of them."""
    champion = serving(session.ledger, model, session.pool)
    if champion is None or is_unmeasured(champion):
        return None
    if champion.target["kind"] == "worker":
        return str(champion.target["worker"])
    wanted = champion.target["checkpoint"]
    name = next((name for name, c in contenders.items() if c.id == wanted), None)
    if name is None:
        name = f"serving {model}"
        checkpoint = registry.load_checkpoint(session.ledger, wanted)
        if not set(checkpoint.meta["workers"]) <= set(session.pool.names):
            return None
        contenders[name] = checkpoint
    return f"{model} ({name})"


async def _trinity(session: Session, name: str, recipe: Recipe, vector: Vector, workers: Sequence[str]) -> Entry:
    """`trinity`'s row: the loop rolled out (argmax), each question as often as it was measured."""
    repeats = recipe.repeats
    scores = await result_of(roll_out, f"trinity ({name})", recipe, vector)
    rows, width = columns_of(workers, session.pool), len(session.pool.workers)
    shares = np.array([np.bincount(rows[list(s.workers)], minlength=width) / len(s.workers) for s in scores])
    return Entry(
        f"trinity ({name})",
        np.array([s.reward for s in scores]).reshape(-1, repeats).mean(axis=1),
        np.array([s.cost_usd for s in scores]).reshape(-1, repeats).mean(axis=1),
        shares.reshape(-1, repeats, width).mean(axis=1),
    )


@dataclass(frozen=True)
class Judgement:
    """What the gate made of a model's candidates. `row`: of what serves, or would; `promoted`: whether that is another
    one than before; `line`: why; `verdicts`: by checkpoint, of those that came before the gate."""

    row: str
    promoted: bool
    line: str
    verdicts: Mapping[str, Verdict]


def _verdict(judged: Mapping[str, Judgement], promote: bool) -> str:
    """Who serves now, or would, as one sentence."""
    passed = "is now served by" if promote else "would be served by"
    parts = [
        f"{model} {passed if each.promoted else 'stays with'} {_who(model, each.row)}" for model, each in judged.items()
    ]
    if any(not each.promoted for each in judged.values()):
        parts[-1] += ", because no other router passed the gate"
    elif not promote:
        parts[-1] += ", if `promote` were on"
    return ", and ".join(parts) + "."


def _who(model: str, row: str) -> str:
    """What a row of the table stands for: a worker, or a router as the model uses it."""
    inner = row.removeprefix(f"{model} (")
    return f"worker {row}" if inner == row else f"the {inner.removesuffix(')')} router"


def _judge(
    session: Session, comparison: Comparison, model: str, candidates: Mapping[str, str], promote: bool
) -> Judgement:
    """Put the candidates through the gate, the best on the validation questions first. Without a champion, the best
    worker becomes it."""
    present = comparison.serving[model]
    if present is None:
        present = comparison.best
        if promote:
            target = {"kind": "worker", "worker": present}
            registry.promote(session.ledger, model, target, "the best single worker, chosen on train")
    verdicts: dict[str, Verdict] = {}
    ranked = {f"{model} ({name})": checkpoint for name, checkpoint in candidates.items()}
    for row, checkpoint in sorted(ranked.items(), key=lambda each: -comparison.validated[each[0]]):
        if row == present:
            continue
        verdicts[checkpoint] = verdict = gate(comparison.tables[SEEN], row, present, f"{model} (warm start)")
        if verdict.promoted:
            if promote:
                target = {"kind": "router", "checkpoint": checkpoint}
                registry.promote(session.ledger, model, target, verdict.line)
            return Judgement(row, True, verdict.line, verdicts)
    failures = " ".join(verdict.line for verdict in verdicts.values())
    return Judgement(present, False, f"{model}: {present} stays. {failures}", verdicts)
