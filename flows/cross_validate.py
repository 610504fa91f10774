"""Cross-validate a warm-started router, for question sets that are too small for one split.

Each fold is held out once; a router is warm-started on the others and chooses the workers for it. The choices of all
folds make one paired table. Recorded scores are evaluated this way too: their workers cannot be asked, so the loop
cannot be rolled out and nothing can be evolved.
"""

from __future__ import annotations

import asyncio

from prefect import get_run_logger
from pydantic import Field

from flows.warm_start import blank_router, learn, learn_by_task
from models.evaluation.baselines import BEST_SINGLE, baselines
from models.evaluation.gate import gate
from models.evaluation.metrics import Entry, concatenate
from models.fugu.router import Router
from tasks import parameters
from tasks.comparing.routers import fugu_entry, measured
from tasks.pages.comparison import comparison_page
from tasks.pages.report import Progress
from tasks.quiet import flow
from tasks.seen import seen_by_all
from tasks.setup.preset import PresetName, load_preset
from tasks.setup.questions import QuestionSet, load_set
from tasks.setup.session import current, open_session
from tasks.setup.settings import HOUSE
from tasks.train import prepare_backbone

ROUTER = "fugu (warm start)"

NEXT = "next: `warm-start/learn-router` learns one from all labels, and `compare-pool/compare-routers` lets it serve"


@flow(name="cross-validate", flow_run_name="cross-validate {pool}")
async def cross_validate(
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    backbone: str = Field(HOUSE, description=parameters.BACKBONE),
    folds: int = Field(5, ge=2, description="each is held out once, and the others are learned from"),
    seed: int = Field(0, description=parameters.SEED),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> str:
    """Returns the gate's line for all folds together."""
    plan = load_preset(preset)
    async with open_session(pool, max_usd) as session:
        questions_of = await seen_by_all(session, load_set(questions, plan.questions, session.ledger))
        path = await prepare_backbone(backbone, plan.backbone)
        router = await asyncio.to_thread(blank_router, path, session.pool, "head", roles=False)
        progress, parts = await Progress.start("folds", folds), []
        for number in range(folds):
            get_run_logger().info("fold %d of %d is held out", number + 1, folds)
            parts.append(await _fold(router, questions_of.fold(number, folds, seed)))
            await progress.add(1)
        # A fold whose replies were not all repeated has no noise-corrected oracle.
        in_all = set.intersection(*({each.name for each in part} for part in parts))
        entries = concatenate([[each for each in part if each.name in in_all] for part in parts])
        verdict = gate(entries, ROUTER, BEST_SINGLE)
        title = f"{pool}, {folds} folds, seed {seed}"
        passed = "passes" if verdict.promoted else "does not pass"
        said = f"A router that is learned from these labels {passed} the gate against the best single worker."
        lines = [verdict.line, NEXT]
        await comparison_page({title: entries}, session.pool.names, said, [ROUTER], lines, "cross-validation")
    return verdict.line


async def _fold(router: Router, questions_of: QuestionSet) -> list[Entry]:
    """The entries of all baselines and of the router on the held-out fold."""
    session = current()
    vector, roles, _ = await learn(session, router, questions_of, len(questions_of.questions), pages=False)
    router.install(vector)
    by_task = await learn_by_task(session, router, questions_of, roles, pages=False)
    train = await measured(session, router, questions_of.split("train"))
    held_out = questions_of.split("test")
    test = await measured(session, router, held_out)
    entries = await asyncio.to_thread(baselines, train, test, session.pool.names)
    routers = {"warm start": router, "by task": by_task}
    return [*entries, *[await fugu_entry(name, each, held_out, test, session.pool) for name, each in routers.items()]]
