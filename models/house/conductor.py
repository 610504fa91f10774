"""The house conductor: a small Qwen3 that writes workflows, cold-started by rejection sampling.

Plans of one and two steps with random workers are carried out on train questions; those that scored 1 become its
examples, the shortest of a question before longer ones. So what it knows of the workers it knows from their replies.
A second, shorter pass shows questions as people type them. It knows which are far from all that it was shown.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch

from models.conductor.learn.sft import Example, Tuning, batched, fit, tune
from models.conductor.plan import checkpoint
from models.conductor.plan.familiar import Familiarity, least_share
from models.conductor.plan.prompt import Card
from models.conductor.plan.taught import Taught
from models.conductor.plan.workflow import Workflow
from models.conductor.plan.writers import QUESTION_CHARS, CheckpointWriter, PlanRequest, compact_prompt
from models.digest import json_digest
from models.grading.grade import grade
from models.grading.question import Question
from models.house import text, vocabulary
from models.house.plans import ACCEPT, one_step, two_steps, written
from models.house.provider import PROVIDER
from models.house.questions import KINDS, generate
from models.house.qwen import fresh, one_thread, train_tokenizer
from models.house.rehearsal import WORKERS, replies, score
from models.house.typed import typed
from models.workers.ask import seed_for

log = logging.getLogger(__name__)

COMMAND = "python -m models.house.conductor data/conductor"

REVISION = 2
"""Part of every recipe's digest: change the procedure, change the number."""

_LONGER = 0.06
"""Share of longer plans than needed: else a plan's length would hang on the question, not on what is written so far."""

MAX_TOKENS = 160
"""Of a completion; the longest written plan takes about half of it."""

_TYPED = 0.5
"""Share of questions in the second pass that are shown as people type them."""

_NEW, _FOLDS = 0.045, 4
"""Share of questions in new phrasings that count as far: measured on the lessons, `_FOLDS` times, without a part of
their phrasings."""

_TWO_STEPS = 36
"""Random two-step plans a question; about one in twelve solves a two-hop question."""


@dataclass(frozen=True)
class Recipe:
    """`lines` of unlabelled house text are read first; `questions` are rehearsed, `kept` plans of each are learned.

    `again`: how many of the questions are rehearsed for the second pass, with the learning rate `again_rate`.
    """

    layers: int = 4
    width: int = 192
    heads: int = 4
    key_value_heads: int = 2
    inner: int = 512
    vocabulary: int = 1536
    lines: int = 4_000
    questions: int = 8_000
    two_hop_share: float = 0.3
    kept: int = 3
    epochs: int = 1
    batch: int = 16
    length: int = 256
    learning_rate: float = 2e-3
    again: int = 2_700
    again_rate: float = 1e-3
    seed: int = 42

    @property
    def digest(self) -> str:
        """sha256 (hex, 16 characters) of the recipe and of the revisions that it depends on."""
        return json_digest([REVISION, text.REVISION, asdict(self)])[:16]


DEFAULT = Recipe()
TINY = Recipe(
    layers=2, width=64, heads=2, key_value_heads=1, inner=128, vocabulary=1024, lines=60, questions=150, epochs=2,
    learning_rate=5e-3, again=60, again_rate=5e-3,
)  # fmt: skip
"""For tests: made in seconds."""


def questions(recipe: Recipe, **held_out: int) -> list[Question]:
    """The recipe's train questions, and so many of other splits (`test=1000`), all distinct in text."""
    return generate(recipe.seed, {"train": recipe.questions, **held_out}, recipe.two_hop_share)


def load(folder: Path, temperature: float = 0.0) -> CheckpointWriter:
    """The house conductor as a policy. Raises BadFile where it is not in `folder`."""
    return CheckpointWriter.load(folder, name="house", max_tokens=MAX_TOKENS, temperature=temperature)


def make(
    folder: Path,
    recipe: Recipe = DEFAULT,
    report: Callable[[float], None] | None = None,
    begun: Path | None = None,
) -> Path:
    """Train it from nothing and write it to `folder`. Minutes of one core; `report` gets the finished fraction.

    `begun`: a folder with what the first pass made, which is then not made again.
    """
    started = time.monotonic()
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(recipe.seed)
        model, tokenizer = _begun(recipe, report) if begun is None else checkpoint.load(begun)
        examples = list(rehearsed(questions(recipe)[: recipe.again], recipe, typing=_TYPED))
        loss = tune(model, tokenizer, examples, _tuning(recipe, recipe.again_rate))
    log.info("house conductor: %d examples again, %.0f s, loss %.3f", len(examples), time.monotonic() - started, loss)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it is written for its owner alone, and shipped
    Taught(prompt="compact", pool=PROVIDER, workers={name: f"{PROVIDER}/{name}" for name in WORKERS}).write(folder)
    familiarity(recipe).save(folder)
    record = {"digest": recipe.digest, "command": COMMAND, "torch": torch.__version__, "recipe": asdict(recipe)}
    (folder / "recipe.json").write_text(json.dumps(record, indent=1) + "\n")
    return folder


def _begun(recipe: Recipe, report: Callable[[float], None] | None) -> tuple[Any, Any]:
    """The model after the first pass, and its tokenizer."""
    examples = list(rehearsed(questions(recipe), recipe))
    lines = text.corpus(recipe.seed, recipe.lines)
    tokenizer = train_tokenizer([*lines, *(f"{x.prompt}{x.completion}" for x in examples)], recipe.vocabulary)
    torch.manual_seed(recipe.seed)
    model: Any = fresh(recipe)
    rows = [(ids[: recipe.length], 0) for ids in tokenizer(lines)["input_ids"]]
    fit(model, list(batched(rows, recipe.batch)), recipe.learning_rate)
    tune(model, tokenizer, examples, _tuning(recipe, recipe.learning_rate), report)
    return model, tokenizer


def _tuning(recipe: Recipe, learning_rate: float) -> Tuning:
    return Tuning(recipe.epochs, recipe.batch, recipe.length, learning_rate, recipe.seed)


def familiarity(recipe: Recipe) -> Familiarity:
    """What the train questions consist of, as they are and as people type them."""
    rng = Random(f"house familiarity/{recipe.seed}")
    texts = [question.messages[-1]["content"] for question in questions(recipe)]
    groups = [_without(rng, fold) for fold in range(_FOLDS)]
    shown = [*texts, *(typed(rng, text) for text in texts)]
    return Familiarity.taught_on(shown, least_share(groups, _NEW), QUESTION_CHARS)


def _without(rng: Random, fold: int) -> tuple[list[str], list[str]]:
    """Questions in most phrasings of each kind, and questions in the others."""
    lessons: list[str] = []
    new: list[str] = []
    for kind in (kind for family in KINDS.values() for kind in family):
        for number, phrasing in enumerate(kind.seen):
            held_out = number % _FOLDS == fold and len(kind.seen) > 1
            texts = [phrasing.format_map(kind.draw(rng).slots) for _ in range(6 if held_out else 40)]
            (new if held_out else lessons).extend(texts)
    return lessons, new


def rehearsed(asked: Sequence[Question], recipe: Recipe, typing: float = 0.0) -> Iterator[Example]:
    """What the conductor learns from: prompts of the questions, and plans that scored 1 on them.

    Each question is offered other workers every time, so that who may be asked is told apart from who is best.
    `typing`: the share of them that are as people type them.
    """
    for number, question in enumerate(asked):
        rng = Random(f"house conductor/{recipe.seed}/{question.id}{'/typed' if typing else ''}")
        seed = seed_for(question.id, 0)
        right, longer = _successes(rng, question, seed)
        for _ in range(recipe.kept):
            offer = _offer(rng)
            preferred = longer if rng.random() < _LONGER else []
            plan = _chosen(rng, question, offer, preferred, right)
            yield _example(rng, _shown(rng, question, typing), offer, plan)
        if number % 4 == 0:
            yield _second_round(rng, question, seed, right)
        if number % 12 == 0:
            offer = _offer(rng)
            odd = " ".join(rng.choices(vocabulary.DICTIONARY, k=rng.randint(1, 12)))
            yield _example(rng, odd, offer, one_step("", rng.choice(offer.known), rng))


@dataclass(frozen=True)
class _Offer:
    """Which ordinals may be asked, and for how many steps."""

    ordinals: tuple[int, ...]
    max_steps: int

    @property
    def known(self) -> list[int]:
        """Those of the house."""
        return [ordinal for ordinal in self.ordinals if ordinal < len(WORKERS)]

    def holds(self, plan: Workflow) -> bool:
        return len(plan.steps) <= self.max_steps and {step.model for step in plan.steps} <= set(self.known)


def _offer(rng: Random) -> _Offer:
    """A third of the time all six, else some; now and then strangers beyond the house, who are never asked."""
    ordinals = list(range(len(WORKERS)))
    if rng.random() < 0.65:
        ordinals = sorted(rng.sample(ordinals, rng.randint(1, len(ordinals) - 1)))
    if rng.random() < 0.15:
        ordinals += range(len(WORKERS), len(WORKERS) + rng.randint(1, 4))
    return _Offer(tuple(ordinals), 1 if rng.random() < 0.08 else rng.randint(2, 5))


def _successes(rng: Random, question: Question, seed: int) -> tuple[list[Workflow], list[Workflow]]:
    """The plans that scored 1, of one step if there are any, else of two; then the longer ones that did so, too."""

    def kept(plans: Iterable[Workflow]) -> list[Workflow]:
        return [plan for plan in plans if score(plan, question, seed) == 1.0]

    kind, everyone = question.tags[0], range(len(WORKERS))
    double = (two_steps(kind, rng.choice(everyone), rng.choice(everyone), rng) for _ in range(_TWO_STEPS))
    if single := kept(one_step(kind, ordinal, rng) for ordinal in everyone):
        return single, kept(islice(double, len(everyone)))
    found = kept(double)
    return found, found


def _chosen(rng: Random, question: Question, offer: _Offer, *successes: Sequence[Workflow]) -> Workflow:
    """One of the first that the offer allows; where it leaves none, any single step that it does."""
    for plans in successes:
        if fitting := [plan for plan in plans if offer.holds(plan)]:
            return rng.choice(fitting)
    return one_step(question.tags[0], rng.choice(offer.known), rng)


def _second_round(rng: Random, question: Question, seed: int, right: Sequence[Workflow]) -> Example:
    """Shown an answer, it accepts what was right, and plans anew where it was wrong."""
    offer = _offer(rng)
    better = _chosen(rng, question, offer, right)
    first = rng.choice([*right, one_step(question.tags[0], rng.randrange(len(WORKERS)), rng)])
    answer = replies(first, question, seed)[-1]
    plan = ACCEPT if grade(question, answer).score == 1.0 else better
    return _example(rng, question.messages[-1]["content"], offer, plan, answer)


def _shown(rng: Random, question: Question, typing: float) -> str:
    """The question's text, sometimes as somebody might type it."""
    asked = str(question.messages[-1]["content"])
    return typed(rng, asked) if typing and rng.random() < typing else asked


def _example(rng: Random, asked: str, offer: _Offer, plan: Workflow, previous: str | None = None) -> Example:
    """Some questions lose words, so that one in words never seen gets a plan, too."""
    if rng.random() < 0.2:
        asked = " ".join(word for word in asked.split(" ") if rng.random() > 0.15)
    cards = tuple(Card(ordinal=ordinal, text="") for ordinal in offer.ordinals)
    request = PlanRequest(({"role": "user", "content": asked},), cards, offer.max_steps, previous)
    return Example(compact_prompt(request), written(plan))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make(Path(sys.argv[1]), begun=Path(sys.argv[2]) if sys.argv[2:] else None)
