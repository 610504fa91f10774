"""Estimate what a home still has to measure and learn, from its ledger, and what that costs at most."""

from __future__ import annotations

from dataclasses import dataclass

from models.evaluation.groups import group_of
from models.fugu.roles import SCHEDULE_SLOTS
from models.ledger import labels, registry
from models.ledger.store import Ledger
from models.workers.ask import TOKEN_BYTES
from models.workers.pool import Pool
from tasks.setup.checkpoint import MODELS, fits, serving
from tasks.setup.preset import Preset, load_preset
from tasks.setup.questions import QuestionSet, load_set, wanted_cells
from tasks.setup.settings import HOUSE, Settings

TURNS = 5
"""Turn budget of a `trinity` answer."""

SCHEDULES = 2
"""Constant schedules that the warm start rolls out (flows/warm_start.py)."""

ROUTERS = 4
"""Routers that the comparison rolls out, at most: evolved, warm-started, and the champions of `fugu` and `trinity`."""

POPULATION = 45
"""4 + floor(3 ln N), which population 0 stands for, at a vector of N = 1,000,000; the released router's N gives 33."""


@dataclass(frozen=True)
class Estimate:
    """`missing` attempts, and the highest cost in USD of them and of the learning after them."""

    missing: int
    labels_usd: float
    learning_usd: float
    learned: bool

    @property
    def usd(self) -> float:
        return self.labels_usd + (0.0 if self.learned else self.learning_usd)

    @property
    def line(self) -> str:
        """What is missing and what it costs, in words."""
        learning = "" if self.learned else f", learning after that at most ${self.learning_usd:,.2f}"
        return f"{self.missing:,} attempts are missing: measuring costs at most ${self.labels_usd:,.2f}{learning}"

    @property
    def nothing_missing(self) -> bool:
        return self.learned and not self.missing


def estimate_cost(here: Settings, pool: Pool, ledger: Ledger) -> Estimate:
    """The estimate for the settings' pool, questions and preset. Raises BadFile, BadInput for unreadable files."""
    preset = load_preset(here.preset)
    questions = load_set(here.questions, preset.questions, ledger)
    longest = {q.id: len(q.model_dump_json().encode()) for q in questions.questions}
    cells = labels.missing(ledger, **wanted_cells(ledger, pool, questions, preset.repeats))
    labels_usd = sum(pool.worker(cell.worker).worst_usd(longest[cell.question_id]) for cell in cells)
    learned = _learned(here, pool, questions, ledger)
    return Estimate(len(cells), labels_usd, _learning_usd(preset, questions, pool), learned)


def _learned(here: Settings, pool: Pool, questions: QuestionSet, ledger: Ledger) -> bool:
    """Whether both models have a champion and a router was evolved with these settings."""
    evolved = registry.newest_checkpoint(
        ledger, kind="evolved", pool=pool.name, preset=here.preset, questions=questions.name
    )
    if evolved is None or not fits(evolved, pool):
        return False
    backbone = evolved.meta["backbone"]
    house = backbone.startswith("backbones/house-")
    same = house if here.backbone == HOUSE else backbone == here.backbone
    return same and all(serving(ledger, model, pool) for model in MODELS)


def _learning_usd(preset: Preset, questions: QuestionSet, pool: Pool) -> float:
    """The answers that warm start, evolution and comparison need, each turn at the most expensive worker's price."""
    evolution = preset.evolution
    train, validated = (len(questions.split(name)) for name in ("train", "validation"))
    slots, judged = min(evolution.questions, train), min(evolution.validation, validated)
    schedules = SCHEDULES * min(SCHEDULE_SLOTS, slots)
    population = evolution.population or POPULATION
    vectors = evolution.generations * population + 1  # and the start, whose states give the search its coordinates
    candidates = vectors * slots * evolution.repeats
    parents = (evolution.generations + 1) * judged
    compared = ROUTERS * preset.repeats * sum(group_of(q) is not None for q in questions.questions)
    mean_bytes = sum(len(q.model_dump_json().encode()) for q in questions.questions) / len(questions.questions)
    replies = (TURNS - 1) * TOKEN_BYTES * max(worker.limits.max_output_tokens for worker in pool.workers)
    turn_usd = max(worker.worst_usd(round(mean_bytes) + replies) for worker in pool.workers)
    return (schedules + candidates + parents + compared) * TURNS * turn_usd
