"""The presets of `data/presets.yaml`: how much is measured, how long is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.files import read_yaml
from tasks.setup.settings import settings

PresetName = Literal["first-light", "evidence", "released"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class QuestionCounts(_Value):
    """House questions of each split; `unseen` are held out on unseen phrasings. The share is the house's own."""

    train: int = Field(gt=0)
    validation: int = Field(gt=0)
    test: int = Field(gt=0)
    unseen: int = Field(ge=0)
    seed: int = 7
    two_hop_share: float = Field(0.12, ge=0, le=1)


class EvolutionPlan(_Value):
    """`questions` and `repeats`: the slots of a candidate. `temperature`: at which its policy samples; 0: the argmax.

    The first `subspace_generations` of all `generations` move the head along `rank` directions, the others every
    parameter. The blocks' scales are found by flip rate, of workers and (for the role rows) of roles; a `sigma` over 0
    is σ0 of every parameter in its stead.
    `rungs`: of successive halving, each with twice as many slots as the one before; 1: every candidate has all.
    """

    population: int = Field(ge=0)
    generations: int = Field(ge=0)
    questions: int = Field(gt=0)
    validation: int = Field(gt=0)
    repeats: int = Field(1, gt=0)
    temperature: float = Field(1.0, ge=0)
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
            raise ValueError("generations in a subspace need its rank")
        if self.subspace_generations > self.generations:
            raise ValueError("the subspace takes no more than all generations")
        if self.questions * self.repeats < 2 ** (self.rungs - 1):
            raise ValueError("the first rung would hold no slot")
        return self


class BackbonePlan(_Value):
    """Lines of text that the house backbone is pretrained on, and its size (`default` or `tiny`).

    `memo_bytes`, `memo_half`, `prefix_bytes`: of this preset's runs, in place of the settings of the same names.
    """

    size: Literal["default", "tiny"] = "default"
    lines: int = Field(gt=0)
    memo_bytes: int | None = Field(None, ge=0)
    memo_half: bool | None = None
    prefix_bytes: int | None = Field(None, ge=0)


class Preset(_Value):
    """One entry of `data/presets.yaml`."""

    questions: QuestionCounts
    repeats: int = Field(gt=0)
    backbone: BackbonePlan
    layout: Literal["head", "late", "released"]
    evolution: EvolutionPlan


def load_preset(name: str) -> Preset:
    """The preset of that name. Raises BadFile where the file does not hold it, or holds it wrongly."""
    return read_yaml(settings().data / "presets.yaml").entry(Preset, name, "preset")
