"""The six workers: what each can work out, and how reliably (`data/house/profiles.yaml`, which says how to read it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, RootModel

from models.house.wordings import table
from models.house.workers.problem import Problem


@dataclass(frozen=True)
class Competence:
    best: float
    reach: int
    floor: float
    fade: float

    def of(self, size: int) -> float:
        return max(self.floor, self.best - self.fade * max(0, size - self.reach))


class _Skill(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kinds: tuple[str, ...]
    best: float
    reach: int = 10**9
    floor: float = 0.05
    fade: float = 1.0

    @property
    def competence(self) -> Competence:
        return Competence(self.best, self.reach, self.floor, self.fade)


class _Profiles(RootModel[dict[str, tuple[_Skill, ...]]]):
    pass


PROFILES: Mapping[str, Mapping[str, Competence]] = {
    worker: {kind: skill.competence for skill in skills for kind in skill.kinds}
    for worker, skills in table("profiles.yaml").parsed(_Profiles).root.items()
}


def competence(worker: str, problem: Problem) -> float | None:
    """The worker's probability of solving the problem, or `None` if it lacks the skill."""
    skill = PROFILES[worker].get(problem.kind)
    return skill.of(problem.size) if skill else None
