"""The knob between quality and cost of a router that has just been learned."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from models.evaluation.matrix import label_matrix
from models.fugu.router import Router
from models.fugu.thrift import fit_knob
from models.fugu.vector import Vector
from models.ledger.labels import labels
from tasks.setup.preset import Preset
from tasks.setup.questions import QuestionSet, digests
from tasks.setup.router import first_texts
from tasks.setup.session import Session


async def knob_of(
    session: Session, router: Router, vector: Vector, questions_of: QuestionSet, preset: Preset
) -> dict[str, Any]:
    """`{"cost": ...}` of the checkpoint's meta: the knob of the router with this vector, fitted on the train questions;
    `None` where what a worker costs is not known of any of them."""
    asked, revisions = questions_of.split("train"), {w.name: w.revision for w in session.pool.workers}
    frame = labels(session.ledger, pool=session.pool.name, questions=digests(asked), workers=revisions)
    costs = label_matrix(frame, [question.id for question in asked], router.workers, "cost_usd", holes=True)
    if not np.isfinite(costs).any(axis=0).all():
        return {"cost": None}
    logits = await asyncio.to_thread(router.logits, first_texts(asked, router), vector)
    knob = fit_knob(logits[:, : len(router.workers)], costs, preset.operating_points)
    return {"cost": knob.meta}
