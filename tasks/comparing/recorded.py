"""Recorded scores with the states of their questions, read as the router would read them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import BadFile, BadInput
from models.evaluation.baselines import Part
from models.evaluation.contamination import contaminated, twins
from models.evaluation.noise import by_repeat
from models.evaluation.perturbations import perturbed, sampled
from models.files import staged
from models.grading.question import Question
from models.grading.scores import Scored, read_scores
from models.workers.ask import Message
from models.workers.pool import name_problem

if TYPE_CHECKING:
    from models.fugu.router import Router

Rows = NDArray[np.intp] | NDArray[np.bool_]


@dataclass(frozen=True)
class Altered:
    """The questions at `places` [K] in perturbed forms: their states [K, d] by kind (`evaluation.perturbations`)."""

    places: NDArray[np.intp]
    states: Mapping[str, NDArray[np.float32]]

    def rows(self, places: NDArray[np.intp]) -> Altered:
        """Those among the questions at these places, by the place that they have there."""
        of = {int(place): at for at, place in enumerate(self.places)}
        found = [(new, of[int(old)]) for new, old in enumerate(places) if int(old) in of]
        kept, own = np.array(found, np.intp).reshape(-1, 2).T
        return Altered(kept, {kind: states[own] for kind, states in self.states.items()})


@dataclass(frozen=True)
class Recorded:
    """Questions that every worker saw. `part`: their scores and states; `texts` [Q]; `groups` [Q]: equal for equal
    texts; `left_out`: questions that some worker did not see; `altered`: some of them in other words; `asked`: the same
    ones' messages, as they are."""

    part: Part
    texts: tuple[str, ...]
    groups: NDArray[np.intp]
    workers: tuple[str, ...]
    left_out: int = 0
    altered: Altered | None = None
    asked: Sequence[Sequence[Message]] = ()

    def rows(self, index: Rows) -> Recorded:
        """These questions alone."""
        places = np.arange(len(self.texts))[index]
        texts = tuple(self.texts[at] for at in places)
        altered = None if self.altered is None else self.altered.rows(places)
        return replace(self, part=self.part.rows(places), texts=texts, groups=self.groups[places], altered=altered)

    def of(self, workers: Sequence[str]) -> Recorded:
        """The same with these workers, in this order. Raises BadInput where one is missing."""
        lacking = [name for name in workers if name not in self.workers]
        if lacking:
            raise BadInput(f"both files must score the same workers; one lacks {', '.join(lacking)}", "scores")
        columns = [self.workers.index(name) for name in workers]
        of = self.part
        tokens, repeats = (None if each is None else each[:, columns] for each in (of.tokens, of.repeats))
        part = Part(of.scores[:, columns], of.features, of.tasks, of.costs[:, columns], tokens, repeats)
        return replace(self, part=part, workers=tuple(workers))

    def shared(self, other: Recorded) -> int:
        """How many of its texts the other has, too."""
        return len(set(self.texts) & set(other.texts))

    def overlap(self, tested: Recorded) -> str:
        """What is tested and was taught, as a sentence. Equal texts never are: a fold holds all of them, and of two
        files only the tested one is kept."""
        if tested is self:
            return (
                f"Equal texts are in one fold; {twins(self.texts)} of {len(self.texts):,} are equal to another one but "
                "for case and spaces, and may be in train and test."
            )
        own = set(self.texts) - set(tested.texts)
        return (
            f"Equal texts are not learned from; {contaminated(own, tested.texts)} of {len(tested.texts):,} tested "
            "texts are equal to a train text but for case and spaces."
        )


def read_recorded(
    file: Path, form: str | None, backbone: str, cache: Path, perturbations: Sequence[str] = ()
) -> Recorded:
    """Scores of any known form, and each question's state in `backbone`, a folder or a hub's name; of some questions
    those in perturbed forms, too. The states are kept in `cache`. Raises BadFile, BadInput."""
    scored = read_scores(file, form, name_problem)
    whole = np.flatnonzero(scored.complete)
    if not len(whole):
        raise BadFile(file, "no question was seen by every worker: nothing can be compared")
    texts = tuple(scored.texts[at] for at in whole)
    questions, tokens = _questions(scored, whole), scored.tokens[whole]
    shape = len(scored.asked), len(scored.workers)
    part = Part(
        scores=scored.scores[whole],
        features=_states(questions, scored.workers, backbone, cache),
        tasks=np.array([scored.tasks[at] for at in whole]),
        costs=np.nan_to_num(scored.costs[whole]),
        tokens=None if np.isnan(tokens).any() else tokens,
        repeats=by_repeat(scored.question, scored.worker, scored.amounts[:, 0], shape, whole),
    )
    places = sampled(texts) if perturbations else np.zeros(0, np.intp)
    some = [questions[at] for at in places]
    altered = Altered(
        places,
        {
            kind: _states([_in_other_words(each, kind) for each in some], scored.workers, backbone, cache)
            for kind in perturbations
        },
    )
    groups = np.unique(np.array([hashlib.sha256(text.encode()).hexdigest() for text in texts]), return_inverse=True)[1]
    of = scored.workers, len(scored.asked) - len(whole)
    return Recorded(part, texts, groups, *of, altered if perturbations else None, [each.messages for each in some])


def _in_other_words(question: Question, kind: str) -> Question:
    return question.model_copy(update={"messages": perturbed(question.messages, kind)})


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
