"""Recorded scores with the states of their questions, read as the router would read them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import BadFile, BadInput
from models.evaluation.baselines import Part
from models.files import staged
from models.grading.question import Question
from models.grading.scores import Scored, read_scores
from models.workers.pool import name_problem

if TYPE_CHECKING:
    from models.fugu.router import Router

Rows = NDArray[np.intp] | NDArray[np.bool_]


@dataclass(frozen=True)
class Recorded:
    """Questions that every worker saw. `part`: their scores and states; `texts` [Q]; `groups` [Q]: equal for equal
    texts; `left_out`: questions that some worker did not see."""

    part: Part
    texts: tuple[str, ...]
    groups: NDArray[np.intp]
    workers: tuple[str, ...]
    left_out: int = 0

    def rows(self, index: Rows) -> Recorded:
        """These questions alone."""
        places = np.arange(len(self.texts))[index]
        texts = tuple(self.texts[at] for at in places)
        return replace(self, part=self.part.rows(places), texts=texts, groups=self.groups[places])

    def of(self, workers: Sequence[str]) -> Recorded:
        """The same with these workers, in this order. Raises BadInput where one is missing."""
        lacking = [name for name in workers if name not in self.workers]
        if lacking:
            raise BadInput(f"both files must score the same workers; one lacks {', '.join(lacking)}", "scores")
        columns = [self.workers.index(name) for name in workers]
        part = replace(self.part, scores=self.part.scores[:, columns], costs=self.part.costs[:, columns])
        return replace(self, part=part, workers=tuple(workers))

    def shared(self, other: Recorded) -> int:
        """How many of its texts the other has, too."""
        return len(set(self.texts) & set(other.texts))


def read_recorded(file: Path, form: str | None, backbone: str, cache: Path) -> Recorded:
    """Scores of any known form, and each question's state in `backbone`, a folder or a hub's name. The states are kept
    in `cache`. Raises BadFile, BadInput."""
    scored = read_scores(file, form, name_problem)
    whole = np.flatnonzero(scored.complete)
    if not len(whole):
        raise BadFile(file, "no question was seen by every worker: nothing can be compared")
    texts = tuple(scored.texts[at] for at in whole)
    part = Part(
        scores=scored.scores[whole],
        features=_states(_questions(scored, whole), scored.workers, backbone, cache),
        tasks=np.array([scored.tasks[at] for at in whole]),
        costs=np.nan_to_num(scored.costs[whole]),
    )
    groups = np.unique(np.array([hashlib.sha256(text.encode()).hexdigest() for text in texts]), return_inverse=True)[1]
    return Recorded(part, texts, groups, scored.workers, len(scored.asked) - len(whole))


def _questions(scored: Scored, places: NDArray[np.intp]) -> list[Question]:
    asked = (scored.asked[at] for at in places)
    return [Question(id=q.id, task=q.task, messages=q.messages, grader="recorded") for q in asked]


def _states(questions: Sequence[Question], workers: Sequence[str], backbone: str, cache: Path) -> NDArray[np.float32]:
    """The unadapted states [Q, d] of the texts that a router reads for these questions."""
    from tasks.setup.router import first_texts

    router = blank(backbone, workers)
    texts = first_texts(questions, router)
    content = hashlib.sha256("\0".join([router.backbone.digest, str(router.backbone.reader.most), *texts]).encode())
    place = cache / f"{content.hexdigest()[:32]}.npy"
    if place.exists():
        kept: NDArray[np.float32] = np.load(place, allow_pickle=False)
        return kept
    states = router.backbone.features(texts)
    with staged(place, "wb") as file:
        np.save(file, states)
    return states


def blank(backbone: str, workers: Sequence[str]) -> Router:
    """A router of zeros on a backbone, without roles or offsets."""
    from models.fugu.router import Router
    from tasks.setup.router import load_backbone

    loaded = load_backbone(backbone)
    return Router(loaded, np.zeros(len(workers) * loaded.width), workers, roles=False, layout="head")
