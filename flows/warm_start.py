"""Stage 1: learn head and offsets from the labels, by forward KL to soft targets.

The mean rewards of the workers on a question give p = softmax(reward / τ), and head and SVF offsets minimise KL(p ‖ π).
The head starts from a ridge regression; its regularisation and τ are chosen by cross-validation on train, and the
offsets are kept only if they improve the validation score. There are no labels for roles: the role rows start from the
best constant schedule (by default SOLVER, then VERIFIER), measured on train.

A second router is fitted to the same labels and unadapted states: a head of tasks (`models.fugu.learn.tasks`), which
falls back to the best single worker where it knows nothing. The comparison chooses between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from prefect import get_run_logger
from pydantic import Field

from models.evaluation.matrix import label_matrix
from models.fugu import vector as vectors
from models.fugu.forward.layout import LayoutName, layout_for
from models.fugu.learn import schedule
from models.fugu.learn.objective import Objective, Slot
from models.fugu.roles import SCHEDULE_SLOTS, Role
from models.fugu.rollout import options_of
from models.fugu.router import Router
from models.fugu.vector import Vector
from models.grading.question import Question
from models.ledger import epochs, registry
from models.ledger.labels import labels
from models.workers.pool import Pool
from tasks import parameters
from tasks.candidate import measure_schedules
from tasks.pages.report import table
from tasks.quiet import flow
from tasks.seen import seen_by_all
from tasks.setup.asking import Asking
from tasks.setup.preset import BackbonePlan, PresetName, load_preset
from tasks.setup.questions import QuestionSet, digests, load_set
from tasks.setup.router import first_texts, load_backbone
from tasks.setup.session import Session, open_session
from tasks.setup.settings import HOUSE
from tasks.thrift import knob_of
from tasks.train import fit_tasks_of, fit_worker_rows, prepare_backbone, read_states, train_offsets


@flow(name="warm-start", flow_run_name="warm start on {pool}")
async def warm_start(
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    backbone: str = Field(HOUSE, description=parameters.BACKBONE),
    layout: LayoutName | Literal[""] = Field("", description=parameters.LAYOUT),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> str:
    """Returns the id of the warm-started checkpoint."""
    plan = load_preset(preset)
    async with open_session(pool, max_usd) as session:
        questions_of = await seen_by_all(session, load_set(questions, plan.questions, session.ledger))
        questions_of.require("train")
        path = await prepare_backbone(backbone, plan.backbone)
        wanted = layout or plan.layout
        router = await asyncio.to_thread(
            blank_router, path, session.pool, wanted, or_head=not layout, plan=plan.backbone
        )
        vector, roles, temperature = await learn(session, router, questions_of, plan.evolution.questions)
        router.install(vector)
        of = {"pool": session.pool.name, "questions": questions_of.name, "preset": preset, "backbone": path}
        save = partial(registry.save_checkpoint, session.ledger)
        by_task = await learn_by_task(session, router, questions_of, roles)
        tempered = {"temperature": temperature}
        for kind, name, learned, more in (("tasks", "by task", by_task, {}), ("warm", "warm start", router, tempered)):
            meta = learned.meta | of | {"kind": kind} | more
            meta |= await knob_of(session, learned, learned.vector, questions_of, plan)
            saved = save(name=f"{name} on {session.pool.name}", vector=learned.vector, meta=meta)
        return saved


def blank_router(
    path: str,
    pool: Pool,
    layout: LayoutName,
    *,
    or_head: bool = False,
    roles: bool = True,
    plan: BackbonePlan | None = None,
) -> Router:
    """A router of zeros. `or_head`: use layout `head`, instead of an error, if the backbone does not support `layout`.
    `plan`: memory limits of the backbone.

    A pool of recorded workers cannot be rolled out, so its router has no role rows.
    """
    backbone = load_backbone(path, plan)
    if or_head and backbone.decoder is None:
        layout = "head"
    roles = roles and not pool.is_recorded
    rows = len(pool.workers) + (len(Role) if roles else 0)
    length = layout_for(backbone.decoder, layout).length(rows, backbone.width)
    return Router.from_vector(backbone, np.zeros(length, np.float32), pool.names, roles=roles, layout=layout)


Roles = Mapping[str, Role]
"""The roles of the best constant schedule by the text that the router read."""


async def learn(
    session: Session, router: Router, questions_of: QuestionSet, rollouts: int, *, pages: bool = True
) -> tuple[Vector, Roles, float]:
    """The warm-started vector: offsets and worker rows from labels, role rows from a constant schedule; and the
    temperature of the targets that the rows were fitted to. `pages`: whether the grids are added to the run's page."""
    offsets, rows, temperature = await _worker_rows(session, router, questions_of, pages)
    if not router.roles:
        return vectors.join(offsets, rows), {}, temperature
    router.install(vectors.join(offsets, np.concatenate([rows, np.zeros((len(Role), rows.shape[1]))])))
    roles = await _schedule(session, router, questions_of, rollouts)
    fitted = schedule.fit_rows(await asyncio.to_thread(router.states, list(roles)), list(roles.values()))
    return vectors.join(offsets, np.concatenate([rows, fitted])), roles, temperature


async def learn_by_task(
    session: Session, router: Router, questions_of: QuestionSet, roles: Roles, *, pages: bool = True
) -> Router:
    """A router with a head of tasks on the same backbone, without offsets; its role rows are fitted to `roles`."""
    texts, labels_of, tasks = _part(session, router, questions_of.split("train"))
    fitted = await fit_tasks_of(await read_states(router, texts), labels_of, tasks)
    chosen, head = fitted.chosen, fitted.head
    happened = (
        f"The head of {fitted.form.tasks} tasks gains {chosen.gain:+.3f} over the best single worker, cross-validated "
        f"on train, and {chosen.unseen:+.3f} where a question's task was left out."
        if len(fitted.trials) > 1
        else "There are too few train questions to choose by: the head of tasks asks the best single worker."
    )
    if pages:
        await table("by-task-grid", [vars(trial) for trial in fitted.trials], happened)
    if roles:
        states = await asyncio.to_thread(router.backbone.features, list(roles))
        head = replace(head, roles=torch.from_numpy(schedule.fit_rows(states, list(roles.values()))))
    return Router(router.backbone, head.numbers(), router.workers, router.roles, "head", form=fitted.form)


Part = tuple[list[str], NDArray[np.float64], list[str]]
"""The router's texts before the first turn, the labels [Q, L], the tasks."""


async def _worker_rows(
    session: Session, router: Router, questions_of: QuestionSet, pages: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Offsets [n], worker rows [L, d], and the temperature of their targets."""
    train = _part(session, router, questions_of.split("train"))
    features = await read_states(router, train[0])
    head = await fit_worker_rows(features, *train[1:])
    get_run_logger().info(
        "head: τ %g, shrinkage %g, penalty %g, cross-validated score %.4f", *vars(head.chosen).values()
    )
    happened = (
        f"The head was fitted to the labels of {len(train[0])} questions: cross-validated on them it scores "
        f"{head.chosen.score:.3f}. `evolve-router/improve-router` improves it on whole answers, "
        "`compare-pool/compare-routers` compares it with every rival."
    )
    if pages:
        await table("warm-start-grid", [vars(trial) for trial in head.trials], happened)
    if not router.layout.offsets:
        return np.zeros(0, np.float32), head.weights, head.chosen.temperature
    adapted = await train_offsets(router, head, train, _part(session, router, questions_of.split("validation")))
    get_run_logger().info(
        "offsets: %s (validation score %.4f before, %.4f after)",
        "kept" if adapted.kept else "not kept", adapted.before, adapted.after,
    )  # fmt: skip
    return adapted.offsets, adapted.weights, head.chosen.temperature


def _part(session: Session, router: Router, questions: list[Question]) -> Part:
    ids = [q.id for q in questions]
    revisions = {w.name: w.revision for w in session.pool.workers}
    frame = labels(session.ledger, pool=session.pool.name, questions=digests(questions), workers=revisions)
    return first_texts(questions, router), label_matrix(frame, ids, router.workers), [q.task for q in questions]


async def _schedule(session: Session, router: Router, questions_of: QuestionSet, count: int) -> Roles:
    """The best constant schedule of roles, measured."""
    epoch = epochs.open_epoch(session.ledger, session.pool.name, questions_of.name)
    objective = Objective(
        router,
        session.pool,
        [Slot(question, 0) for question in questions_of.split("train")[: min(count, SCHEDULE_SLOTS)]],
        Asking(session.access).ask_all,
        scope=epochs.scope_of(epoch),
        options=options_of(router),
    )
    measured = await measure_schedules(objective, router.vector)
    rows: list[dict[str, Any]] = [
        {"schedule": " → ".join(role.name for role in m.schedule), "reward": round(m.reward, 4), "turns": m.turns}
        for m in measured
    ]
    best = f"{rows[0]['schedule']} is the best constant schedule of roles on train, with {rows[0]['reward']:.3f}"
    await table("role-schedules", rows, f"{best}: the role rows start from it.")
    return dict(measured[0].states)
