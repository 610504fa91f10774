"""Run all stages: measure the pool, warm-start and evolve a router, compare it with baselines, promote it if better.

One vector with L + 3 rows is learned: `trinity` uses all rows in its loop, `fugu` only the L worker rows.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flows.compare_pool import compare_pool
from flows.evolve_router import evolve_router
from flows.refresh_labels import refresh_labels
from flows.warm_start import warm_start
from models.fugu.forward.layout import LayoutName
from tasks import parameters
from tasks.pages.overview import overview
from tasks.quiet import flow
from tasks.setup.preset import PresetName, load_preset
from tasks.setup.questions import load_set
from tasks.setup.session import all_ended, open_session
from tasks.setup.settings import HOUSE
from tasks.train import prepare_backbone


@flow(name="first-light", flow_run_name="first light on {pool}")
async def first_light(
    pool: str = Field(HOUSE, description=parameters.POOL),
    questions: str = Field(HOUSE, description=parameters.QUESTION_SET),
    preset: PresetName = Field("first-light", description=parameters.PRESET),
    backbone: str = Field(HOUSE, description=parameters.BACKBONE),
    layout: LayoutName | Literal[""] = Field("", description=parameters.LAYOUT),
    max_usd: float = Field(0.0, ge=0, description=parameters.MAX_USD),
) -> dict[str, str]:
    """Returns the gate's line for each model. A restarted run repeats only what is missing."""
    plan = load_preset(preset)
    async with open_session(pool, max_usd) as session:
        load_set(questions, plan.questions, session.ledger).require("train", "validation", "test")
        # Concurrently: the backbone needs the CPU, labelling mostly waits for workers.
        await all_ended(
            refresh_labels(pool, questions, preset, max_usd=max_usd), prepare_backbone(backbone, plan.backbone)
        )
        warm = await warm_start(pool, questions, preset, backbone, layout, max_usd=max_usd)
        evolved = await evolve_router(warm, pool, questions, preset, max_usd)
        lines = await compare_pool(pool, questions, preset, warm, evolved, True, max_usd)
        said = (
            "The pool was measured, and a router learned and compared: this is what each part found, the verdict last."
        )
        await overview("first-light", f"{said} Now ask the endpoint.")
        return lines
