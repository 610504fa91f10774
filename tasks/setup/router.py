"""Load backbones by name and routers from checkpoints."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from models.errors import BadInput
from models.grading.question import Question
from models.ledger.epochs import open_epoch, scope_of
from models.ledger.registry import Checkpoint
from models.ledger.tables import calls
from models.workers.ask import Ask, Sampling, seed_for
from tasks.loading import loading
from tasks.setup.preset import BackbonePlan, load_preset
from tasks.setup.settings import HOUSE, load_pool, settings

if TYPE_CHECKING:
    from models.fugu.forward.backbone import Backbone
    from models.fugu.loop import Turn
    from models.fugu.router import Router
    from models.ledger.store import Ledger

HELD_OUT = 400
"""Texts on which int8 decisions are compared with float32; at most two may differ."""

log = logging.getLogger(__name__)


def backbone_path(name: str, plan: BackbonePlan, report: Callable[[float], None] | None = None) -> str:
    """The backbone's path as checkpoints record it: relative to the home, a folder, or a hub's name.

    "house" is made now if it is missing (a minute on two cores); `report` gets the finished fraction.
    """
    if name != HOUSE:
        return name
    from dataclasses import replace

    from models.house import backbone

    size = backbone.TINY if plan.size == "tiny" else backbone.DEFAULT
    with loading("the house backbone, which is made once"):
        folder = backbone.make(settings().home, replace(size, lines=plan.lines), report)
    return str(folder.relative_to(settings().home))


def load_backbone(path: str, plan: BackbonePlan | None = None) -> Backbone:
    """Load the backbone of `backbone_path`: from below the home if that folder exists, else from the path itself.

    The last backbone is cached, so that all routers of a run share it and its remembered states. Their size is limited
    by `plan`, or else by the settings.
    """
    here, own = settings(), plan.model_dump(exclude_none=True) if plan is not None else {}
    memory = {name: own.get(name, getattr(here, name)) for name in ("memo_bytes", "memo_half", "prefix_bytes")}
    with _loading, loading(f"backbone {path}"):  # tasks in several threads wait for one load
        return _loaded(path, here.home, here.read_tokens, here.cuda_graphs, **memory)


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _loaded(
    path: str, home: Path, read_tokens: int, graphs: bool, memo_bytes: int, memo_half: bool, prefix_bytes: int
) -> Backbone:
    import torch

    from models.fugu.forward.backbone import Backbone

    below = home / path
    backbone = Backbone.load(
        below if below.is_dir() else path,
        cache=home / "factors",
        memo_bytes=memo_bytes,
        prefix_bytes=prefix_bytes,
        read_tokens=read_tokens,
        graphs=graphs,
        # bfloat16: 16 bits, and unlike float16 it cannot overflow on large states.
        memo_dtype=torch.bfloat16 if memo_half else None,
    )
    where = "on the CPU, since there is no GPU here" if backbone.device.type == "cpu" else f"on {backbone.device}"
    log.info("backbone %s runs %s", path, where)
    return backbone


def load_router(checkpoint: Checkpoint, plan: BackbonePlan | None = None) -> Router:
    """The router of a checkpoint, folded: optimised for its own vector, though candidates can be evaluated too.

    Raises BadInput if its backbone is no longer the one it was trained on.
    """
    from models.fugu.head import HeadForm
    from models.fugu.router import Router

    meta = checkpoint.meta
    backbone = load_backbone(meta["backbone"], plan)
    if backbone.digest != meta["backbone_digest"]:
        raise BadInput(
            f"checkpoint {checkpoint.id[:12]} was trained on another backbone than {meta['backbone']} holds now",
            "backbone",
        )
    facts = {name: meta[name] for name in ("roles", "layout")} | {"released": meta.get("released")}
    with loading(f"router {checkpoint.id[:12]}"):
        form = HeadForm.of(meta.get("head"))
        router = Router.from_vector(backbone, checkpoint.vector, meta["workers"], **facts, form=form)
        router.fold()
    return router


def serving_router(checkpoint: Checkpoint, ledger: Ledger) -> Router:
    """The router of a checkpoint for an endpoint: in int8 if the settings ask for it and its decisions in rollouts of
    validation questions agree with float32 (the check takes some minutes with Qwen3-0.6B)."""
    router = load_router(checkpoint)
    return _in_int8(router, checkpoint, ledger) if settings().precision == "int8" else router


def _in_int8(router: Router, checkpoint: Checkpoint, ledger: Ledger) -> Router:
    from models.fugu.learn.reduced import met, reduced
    from tasks.setup.questions import load_set

    try:
        questions = load_set(settings().questions, load_preset(settings().preset).questions, ledger)
        texts = met(router, questions.split("validation"), _recorded(checkpoint, ledger))
        return reduced(router, list(islice(texts, HELD_OUT)))
    except BadInput as error:
        log.warning("the router runs in float32, not in int8: %s", error)
        return router


def _recorded(checkpoint: Checkpoint, ledger: Ledger) -> Callable[[Question, Turn], str | None]:
    """A function that reads workers' replies in the rollouts of the checkpoint's training and comparison (`Objective`)
    from the ledger; `None` where it has none. No worker is asked."""
    pool, meta = load_pool(), checkpoint.meta
    if meta.get("pool") != pool.name or tuple(meta["workers"]) != pool.names or "questions" not in meta:
        return lambda question, turn: None
    scope = scope_of(open_epoch(ledger, pool.name, meta["questions"]))

    def reply(question: Question, turn: Turn) -> str | None:
        worker = pool.worker(turn.worker)
        ask = Ask(
            scope=scope,
            worker=worker.name,
            revision=worker.revision,
            messages=turn.messages,
            sampling=Sampling(seed=seed_for(question.id, 0)),
        ).again(turn.repeat)
        settled = select(calls.c.reply).where(calls.c.id == ask.identity, calls.c.status == "settled")
        with ledger.reading() as connection:
            found = connection.execute(settled).scalar_one_or_none()
        return None if found is None else found["text"] or ""

    return reply


def first_texts(questions: Sequence[Question], router: Router) -> list[str]:
    """The text that the router reads for each question before the first turn."""
    from models.fugu import transcript
    from models.fugu.rollout import first_transcript, options_of

    options = options_of(router)
    return [transcript.text(first_transcript(q.messages, len(router.workers), options)) for q in questions]
