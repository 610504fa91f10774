"""Who writes the plans of `fugu-ultra`, where FUGU_CONDUCTOR names nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.conductor.plan.prompt import Card
from models.conductor.plan.taught import Taught
from models.conductor.plan.writers import QUESTION_CHARS, PlanRequest, full_prompt
from models.ledger.store import Ledger
from models.workers.ask import TOKEN_BYTES, Sampling, prompt_bytes
from models.workers.pool import Pool, Worker
from tasks.setup.settings import HOUSE, PROJECT, settings

NOBODY = "nobody"
"""The choice where no worker of a pool can write plans: each question goes to one worker."""


@dataclass(frozen=True)
class Choice:
    """`setting`: as in FUGU_CONDUCTOR, or NOBODY. `why`: the reason for it. `worst_usd`: of a plan, written twice at
    most, for a short question."""

    setting: str
    why: str
    worst_usd: float = 0.0

    @property
    def line(self) -> str:
        """One line for a person: who plans, why, what it costs a request, and how to change it."""
        if self.setting == NOBODY:
            return f"fugu-ultra plans nothing: {self.why}. FUGU_CONDUCTOR names a conductor"
        cost = f"at most ${self.worst_usd:.4f} for the plan of a short question" if self.worst_usd else "free"
        return f"fugu-ultra is planned by {self.setting} ({self.why}), {cost}; FUGU_CONDUCTOR=worker:NAME changes that"


def choose(setting: str, pool: Pool, cards: Mapping[str, str], scores: Mapping[str, float]) -> Choice:
    """The choice. `setting`: FUGU_CONDUCTOR; `cards`: as the plans' prompts show them; `scores`: worker -> mean label.

    Where the setting is empty: the house conductor if it was taught this pool, else the prompted one, by the first of
    the pool's `conductors`, or the worker with the best label, or the first one. Raises BadFile.
    """
    if setting:
        kind, _, name = setting.partition(":")
        return Choice(setting, "as FUGU_CONDUCTOR says", _worst_usd(pool, name, cards) if kind == "worker" else 0.0)
    if house_knows(pool, cards):
        return Choice(HOUSE, "it was taught this pool")
    for worker in filter(_can_write, pool.conductors):
        return _prompted(pool, worker, cards, "the pool file names it as a conductor")
    able = [worker for worker in pool.workers if _can_write(worker)]
    measured = [worker for worker in able if worker.name in scores]
    if measured:
        best = max(measured, key=lambda worker: scores[worker.name])
        return _prompted(pool, best, cards, f"its labels are the best, {scores[best.name]:.2f}")
    if able:
        return _prompted(pool, able[0], cards, "it is the first worker, and nothing is measured")
    return Choice(
        NOBODY, "the house conductor was not taught this pool, and none of its workers can be asked for a plan"
    )


def house_knows(pool: Pool, cards: Mapping[str, str]) -> bool:
    """Whether the house conductor was taught this pool: as it is shipped, the house's, whole or its first workers."""
    for data in (settings().data, PROJECT / "data"):
        if (data / "conductor").is_dir():
            return Taught.read(data / "conductor").misfit(pool, cards) is None
    return all(worker.is_house for worker in pool.workers)


def mean_labels(ledger: Ledger, pool: Pool) -> dict[str, float]:
    """Each measured worker's mean label."""
    from models.ledger.labels import labels

    frame = labels(ledger, pool=pool.name, workers={worker.name: worker.revision for worker in pool.workers})
    return {str(name): float(score) for name, score in frame.groupby("worker")["score"].mean().items()}


def _can_write(worker: Worker) -> bool:
    """Whether it can be asked for a plan: it can be asked at all, and is no program of the house."""
    return worker.is_askable and not worker.is_house


def _prompted(pool: Pool, worker: Worker, cards: Mapping[str, str], why: str) -> Choice:
    return Choice(f"worker:{worker.name}", why, _worst_usd(pool, worker.name, cards))


def _worst_usd(pool: Pool, name: str, cards: Mapping[str, str]) -> float:
    """The most that a plan costs that is written, refused and written again."""
    worker = pool.worker(name)
    shown = tuple(Card(ordinal, cards.get(each, "")) for ordinal, each in enumerate(pool.names))
    question = {"role": "user", "content": "x" * QUESTION_CHARS}
    prompt = full_prompt(PlanRequest((question,), shown, settings().max_steps))
    first = prompt_bytes(prompt, Sampling())
    return worker.worst_usd(first) + worker.worst_usd(first + TOKEN_BYTES * worker.output_tokens(None))
