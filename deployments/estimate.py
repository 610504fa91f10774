"""What a home still lacks, asked of its ledger, and what it would cost at the worst to learn it."""

from __future__ import annotations

from dataclasses import dataclass

from models.evaluation.groups import group_of
from models.ledger import labels, registry
from models.ledger.store import Ledger
from models.workers.ask import TOKEN_BYTES
from models.workers.pool import Pool
from tasks.setup.checkpoint import fits, serving
from tasks.setup.preset import Preset, load_preset
from tasks.setup.questions import QuestionSet, load_set, wanted_cells
from tasks.setup.settings import Settings

MODELS = ("fugu", "trinity")
TURNS = 5
"""Asks of a `trinity` answer, at most."""

SCHEDULES, SCHEDULE_QUESTIONS = 2, 200
"""Constant schedules that the warm start rolls out, and on how many train questions (flows/warm_start.py)."""

ROUTERS = 4
"""That the comparison rolls out, at most: evolved, warm-started, and who serves `fugu` and `trinity`."""

POPULATION = 45
"""4 + floor(3 ln N), what population 0 means, for a vector of N = 1,000,000; the released run's N gives 33."""


@dataclass(frozen=True)
class Plan:
    """`missing` attempts, and the most that they and the learning after them can cost, in USD."""

    missing: int
    labels_usd: float
    learning_usd: float
    learned: bool

    @property
    def usd(self) -> float:
        return self.labels_usd + (0.0 if self.learned else self.learning_usd)

    @property
    def nothing_missing(self) -> bool:
        return self.learned and not self.missing


def plan(here: Settings, pool: Pool, ledger: Ledger) -> Plan:
    """Of the settings' pool, questions and preset. Raises BadFile, BadInput for what cannot be read."""
    preset = load_preset(here.preset)
    questions = load_set(here.questions, preset.questions, ledger)
    longest = {q.id: len(q.model_dump_json().encode()) for q in questions.questions}
    cells = labels.missing(ledger, **wanted_cells(ledger, pool, questions, preset.repeats))
    labels_usd = sum(pool.worker(cell.worker).worst_usd(longest[cell.question_id]) for cell in cells)
    return Plan(len(cells), labels_usd, _learning_usd(preset, questions, pool), _learned(here, pool, questions, ledger))


def _learned(here: Settings, pool: Pool, questions: QuestionSet, ledger: Ledger) -> bool:
    """Both models have a champion, and a router was evolved as the settings say."""
    evolved = registry.newest_checkpoint(
        ledger, kind="evolved", pool=pool.name, preset=here.preset, questions=questions.name
    )
    if evolved is None or not fits(evolved, pool):
        return False
    backbone = evolved.meta["backbone"]
    house = backbone.startswith("backbones/house-")
    same = house if here.backbone == "house" else backbone == here.backbone
    return same and all(serving(ledger, model, pool) for model in MODELS)


def _learning_usd(preset: Preset, questions: QuestionSet, pool: Pool) -> float:
    """Whole answers that warm start, evolution and comparison ask for, each turn by the dearest worker."""
    evolution = preset.evolution
    schedules = SCHEDULES * min(SCHEDULE_QUESTIONS, evolution.questions)
    population = evolution.population or POPULATION
    vectors = evolution.generations * population + 1  # the start too: its states are the search's coordinates
    candidates = vectors * evolution.questions * evolution.repeats
    parents = (evolution.generations + 1) * evolution.validation
    compared = ROUTERS * preset.repeats * sum(group_of(q) is not None for q in questions.questions)
    mean_bytes = sum(len(q.model_dump_json().encode()) for q in questions.questions) / len(questions.questions)
    replies = (TURNS - 1) * TOKEN_BYTES * max(worker.limits.max_output_tokens for worker in pool.workers)
    dearest = max(worker.worst_usd(round(mean_bytes) + replies) for worker in pool.workers)
    return (schedules + candidates + parents + compared) * TURNS * dearest
