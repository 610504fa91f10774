"""The presets of `data/presets.yaml`: how much is measured, how long is learned."""

from __future__ import annotations

from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import BadFile
from tasks.settings import settings

PresetName = Literal["first-light", "evidence", "released"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuestionCounts(_Value):
    """House questions of each split; `unseen` are held out on unseen phrasings. The share is the house's own."""

    train: int = Field(gt=0)
    validation: int = Field(gt=0)
    test: int = Field(gt=0)
    unseen: int = Field(ge=0)
    seed: int = 7
    two_hop_share: float = Field(0.12, ge=0, le=1)


class EvolutionPlan(_Value):
    """`questions` and `repeats`: the slots of a candidate. `sigma` 0: found by flip rate."""

    population: int = Field(ge=0)
    generations: int = Field(ge=0)
    questions: int = Field(gt=0)
    validation: int = Field(gt=0)
    repeats: int = Field(1, gt=0)
    sigma: float = Field(0.0, ge=0)
    flip_rate: float = Field(0.05, gt=0, lt=1)
    diversity: float = 0.0
    turns: float = 0.0
    cost: float = 0.0
    seed: int = 42


class BackbonePlan(_Value):
    """Lines of text that the house backbone is pretrained on, and its size (`default` or `tiny`)."""

    size: Literal["default", "tiny"] = "default"
    lines: int = Field(gt=0)


class Preset(_Value):
    """One entry of `data/presets.yaml`."""

    questions: QuestionCounts
    repeats: int = Field(gt=0)
    backbone: BackbonePlan
    layout: Literal["head", "late", "released"]
    evolution: EvolutionPlan


def load_preset(name: str) -> Preset:
    """The preset of that name. Raises BadFile where the file does not hold it, or holds it wrongly."""
    path = settings().data / "presets.yaml"
    try:
        presets = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadFile(path, f"cannot be read: {error}") from None
    if name not in presets:
        raise BadFile(path, f"no preset {name!r}; there are {', '.join(presets)}")
    try:
        return Preset.model_validate(presets[name])
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFile(path, f"{name}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
