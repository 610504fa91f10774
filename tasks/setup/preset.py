"""Presets for measuring and learning (`data/presets.yaml`, `data/studies.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.files import read_yaml
from tasks.setup.settings import settings

PresetName = Literal["first-light", "evidence", "released"]

P = TypeVar("P", bound=BaseModel)


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class QuestionCounts(Value):
    """Number of house questions in each split; `unseen` are held out, in unseen phrasings."""

    train: int = Field(gt=0)
    validation: int = Field(gt=0)
    test: int = Field(gt=0)
    unseen: int = Field(ge=0)
    seed: int = 7
    two_hop_share: float = Field(0.12, ge=0, le=1)


class EvolutionPlan(Value):
    """Settings of stage 2. `questions` and `repeats`: slots of a candidate. `temperature`: of sampling; 0: the argmax.
    `random_pools`: the share of training turns that may choose among some of the workers only, as requests may.

    The first `subspace_generations` of all `generations` move the head along `rank` directions, the others every
    parameter. The blocks' step sizes are fitted to the flip rates of workers and (for the role rows) of roles; with
    `sigma` over 0 that is σ0 of every parameter instead.
    `rungs`: of successive halving, each with twice as many slots as the one before; 1: every candidate has all slots.
    """

    population: int = Field(ge=0)
    generations: int = Field(ge=0)
    questions: int = Field(gt=0)
    validation: int = Field(gt=0)
    repeats: int = Field(1, gt=0)
    temperature: float = Field(1.0, ge=0)
    random_pools: float = Field(0.0, ge=0, le=1)
    rank: int = Field(0, ge=0)
    subspace_generations: int = Field(0, ge=0)
    sigma: float = Field(0.0, ge=0)
    flip_rate: float = Field(0.05, gt=0, lt=1)
    role_flip_rate: float = Field(0.2, gt=0, lt=1)
    rungs: int = Field(1, gt=0)
    diversity: float = 0.0
    turns: float = 0.0
    cost: float = 0.0
    seed: int = 42

    @model_validator(mode="after")
    def _stages(self) -> EvolutionPlan:
        if self.subspace_generations and not self.rank:
            raise ValueError("subspace_generations needs a rank above 0")
        if self.subspace_generations > self.generations:
            raise ValueError("subspace_generations must not exceed generations")
        if self.questions * self.repeats < 2 ** (self.rungs - 1):
            raise ValueError("with so many rungs the first would have no slot")
        return self


class BackbonePlan(Value):
    """The house backbone's size and the lines of text for its pretraining.

    `memo_bytes`, `memo_half`, `prefix_bytes` override the settings of the same names in this preset's runs.
    """

    size: Literal["default", "tiny"] = "default"
    lines: int = Field(gt=0)
    memo_bytes: int | None = Field(None, ge=0)
    memo_half: bool | None = None
    prefix_bytes: int | None = Field(None, ge=0)


class Preset(Value):
    """One entry of `data/presets.yaml`. `operating_points`: names of settings of the knob between quality and cost."""

    questions: QuestionCounts
    repeats: int = Field(gt=0)
    backbone: BackbonePlan
    layout: Literal["head", "late", "released"]
    evolution: EvolutionPlan
    operating_points: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = {}


def load_preset(name: str) -> Preset:
    """The preset of that name. Raises BadFile as `load_entry` does."""
    return load_entry(settings().data / "presets.yaml", name, Preset)


def load_entry(file: Path, name: str, kind: type[P]) -> P:
    """One named preset of a YAML file. Raises BadFile if the file cannot be read, lacks it, or a value is invalid."""
    return read_yaml(file).entry(kind, name, "preset")
