"""What a home still lacks, asked of its ledger, and what it would cost at the worst to learn it."""

from __future__ import annotations

from dataclasses import dataclass

from models.ledger import labels, registry
from models.ledger.store import Ledger
from models.workers.pool import Pool
from tasks.preset import Preset, load_preset
from tasks.questions import QuestionSet, load_set, wanted_cells
from tasks.settings import Settings

MODELS = ("fugu", "trinity")
TURNS = 5
"""Asks of a `trinity` answer, at most."""


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
    return Plan(len(cells), labels_usd, _learning_usd(preset, questions, pool), _learned(here, pool, ledger))


def _learned(here: Settings, pool: Pool, ledger: Ledger) -> bool:
    """Both models have a champion, and a router was evolved as the settings say."""
    evolved = registry.newest_checkpoint(ledger, kind="evolved", pool=pool.name, preset=here.preset)
    if evolved is None:
        return False
    backbone = evolved.meta["backbone"]
    house = backbone.startswith("backbones/house-")
    fits = house if here.backbone == "house" else backbone == here.backbone
    return fits and all(registry.champion(ledger, model) for model in MODELS)


def _learning_usd(preset: Preset, questions: QuestionSet, pool: Pool) -> float:
    """Whole answers that evolution and comparison ask for, each turn by the dearest worker."""
    evolution = preset.evolution
    candidates = evolution.generations * evolution.population * evolution.questions * evolution.repeats
    answers = candidates + (evolution.generations + 1) * evolution.validation + len(questions.questions)
    mean_bytes = sum(len(q.model_dump_json().encode()) for q in questions.questions) / len(questions.questions)
    dearest = max(
        worker.worst_usd(round(mean_bytes) + TURNS * worker.limits.max_output_tokens) for worker in pool.workers
    )
    return answers * TURNS * dearest
