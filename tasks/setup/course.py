"""Presets for training a conductor (`conductors.yaml`), and the folder of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from models.digest import json_digest
from models.files import staged
from tasks.setup.preset import QuestionCounts, Value, load_entry
from tasks.setup.settings import config_file, settings

if TYPE_CHECKING:
    from models.conductor.learn.grpo import Course
    from models.conductor.learn.offers import Offers


class OffersPlan(Value):
    """Settings of `models.conductor.learn.offers.Offers`."""

    least: int = Field(1, gt=0)
    most: int = Field(0, ge=0)
    whole: float = Field(0.0, ge=0, le=1)
    shuffled: bool = False

    def offers(self) -> Offers:
        from models.conductor.learn.offers import Offers

        return Offers(**self.model_dump())


class ColdStartPlan(Value):
    """Stage 0: number of examples (0 for none) and their writer; then settings of `models.conductor.learn.sft.Tuning`.

    If the memory is too small for all weights, adapters of the course's rank are trained.
    """

    plans_by: str = ""
    examples: int = Field(0, ge=0)
    epochs: int = Field(1, gt=0)
    batch: int = Field(8, gt=0)
    micro_batch: int = Field(0, ge=0)
    learning_rate: float = Field(1e-5, gt=0)


class CoursePlan(Value):
    """Settings of `models.conductor.learn.grpo.Course`. `lora`: rank of adapters if the GPU's memory is too small."""

    iterations: int = Field(ge=0)
    questions: int = Field(4, gt=0)
    group: int = Field(64, ge=2)
    learning_rate: float = Field(1e-6, gt=0)
    warm_up: float = Field(0.03, ge=0)
    max_tokens: int = Field(1024, gt=0)
    temperature: float = Field(1.0, gt=0)
    micro_batch: int = Field(0, ge=0)
    lora: int = Field(0, ge=0)
    vllm: bool = False
    save_every: int = Field(10, gt=0)

    def course(self, seed: int, *, lora: int) -> Course:
        """The course. `lora`: the result of `models.conductor.learn.grpo.fitting_rank` for this preset's rank."""
        from models.conductor.learn.grpo import Course

        return Course(**self.model_dump() | {"seed": seed, "lora": lora})


class ConductorPreset(Value):
    """One entry of `conductors.yaml`. `step_tasks`: whether every step of a workflow is its own Prefect task."""

    start: str
    prompt: Literal["full", "compact", "carded"] = "full"
    questions: QuestionCounts
    max_steps: int = Field(5, gt=0)
    offers: OffersPlan = OffersPlan(least=1, most=0, whole=0.0, shuffled=False)
    cold_start: ColdStartPlan = ColdStartPlan(
        plans_by="", examples=0, epochs=1, batch=8, micro_batch=0, learning_rate=1e-5
    )
    course: CoursePlan
    recursion: CoursePlan | None = None
    step_tasks: bool = True
    worker_max_tokens: int | None = Field(None, gt=0)
    worker_temperature: float | None = Field(None, ge=0)


def load_course(name: str) -> ConductorPreset:
    """The preset of that name in `conductors.yaml`, of the home if it exists there, else of the data.

    Raises BadFile as `load_entry` does.
    """
    return load_entry(config_file("conductors.yaml"), name, ConductorPreset)


NOTE = "training.json"
"""The file in a training's folder that records its settings."""


def training_home(pool: str, preset: str, meaning: Mapping[str, Any]) -> tuple[Path, str]:
    """The folder of a training, named by a hash of its settings, so that a restarted run finds its own.

    `meaning`: the settings, as JSON values. The second value is a warning if a new training starts although another of
    this pool and preset is unfinished, else "".
    """
    home = settings().home / "conductors" / f"{pool}-{json_digest(meaning)[:12]}"
    note = {"pool": pool, "preset": preset, "meaning": json.loads(json.dumps(meaning))}
    line = "" if home.is_dir() else _unfinished(home, note)
    home.mkdir(parents=True, exist_ok=True)
    with staged(home / NOTE) as file:
        file.write(json.dumps(note, indent=1) + "\n")
    return home, line


def _unfinished(home: Path, note: Mapping[str, Any]) -> str:
    """The warning about the unfinished training that differs in the fewest settings."""
    found = []
    for other in sorted(home.parent.glob(f"*/{NOTE}")):
        try:
            begun = json.loads(other.read_text(encoding="utf-8"))
        except ValueError:  # truncated by a kill
            continue
        if all(begun[key] == note[key] for key in ("pool", "preset")) and not (other.parent / "final").is_dir():
            found.append(([key for key in note["meaning"] if begun["meaning"].get(key) != note["meaning"][key]], other))
    if not found:
        return ""
    differs, other = min(found, key=lambda pair: len(pair[0]))
    return f"a new training starts in {home}: {other.parent} is unfinished and differs in {', '.join(differs)}"
