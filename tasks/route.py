"""From names to things that decide: the backbone, and the router of a stored checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import BadInput
from models.grading.question import Question
from models.ledger.registry import Checkpoint
from tasks.preset import BackbonePlan
from tasks.settings import settings

if TYPE_CHECKING:
    from models.fugu.backbone import Backbone
    from models.fugu.router import Router

HOUSE = "house"
log = logging.getLogger(__name__)


def backbone_path(name: str, plan: BackbonePlan, report: Callable[[float], None] | None = None) -> str:
    """What a checkpoint keeps of its backbone: a path below the home, a folder, or a hub's name.

    "house" is made now where it is not there yet (a minute on two cores); `report` gets the finished fraction.
    """
    if name != HOUSE:
        return name
    from dataclasses import replace

    from models.house import backbone

    size = backbone.TINY if plan.size == "tiny" else backbone.DEFAULT
    folder = backbone.make(settings().home, replace(size, lines=plan.lines), report)
    return str(folder.relative_to(settings().home))


@lru_cache(maxsize=1)
def load_backbone(path: str, home: Path) -> Backbone:
    """The backbone of `backbone_path`: below the home where such a folder is, else as it stands.

    The last one is kept, so that all routers of a run share it, and with it the states that it remembers.
    """
    from models.fugu.backbone import Backbone

    below = home / path
    backbone = Backbone.load(below if below.is_dir() else path, cache=home / "factors")
    where = "on the CPU, since there is no GPU here" if backbone.device.type == "cpu" else f"on {backbone.device}"
    log.info("backbone %s computes %s", path, where)
    return backbone


def load_router(checkpoint: Checkpoint) -> Router:
    """The router of a checkpoint. Raises BadInput where its backbone is no longer the one it was trained on."""
    from models.fugu.router import Router

    meta = checkpoint.meta
    backbone = load_backbone(meta["backbone"], settings().home)
    if backbone.digest != meta["backbone_digest"]:
        raise BadInput(
            f"checkpoint {checkpoint.id[:12]} was trained on another backbone than {meta['backbone']} holds now",
            "backbone",
        )
    return Router.from_vector(backbone, checkpoint.vector, meta["workers"], roles=meta["roles"], layout=meta["layout"])


def first_texts(questions: Sequence[Question], router: Router) -> list[str]:
    """What the router reads of each question before the first turn."""
    from models.fugu import transcript
    from models.fugu.loop import LoopOptions
    from models.fugu.rollout import first_transcript

    options = LoopOptions(roles=router.roles)
    return [transcript.text(first_transcript(q.messages, len(router.workers), options)) for q in questions]
