"""The six workers: the skills of each, and how reliable they are.

A competence is the probability of a right result for a problem of a kind: `best` up to size `reach` (digits of the
largest number, letters of the word, items of the list, lines of the file, rank in the almanac), lower by `fade` for
every step beyond it, down to `floor`. For a kind that is not listed, the worker guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.house.workers.problem import Problem


@dataclass(frozen=True)
class Competence:
    best: float
    reach: int = 10**9
    floor: float = 0.05
    fade: float = 1.0

    def of(self, size: int) -> float:
        return max(self.floor, self.best - self.fade * max(0, size - self.reach))


def _each(kinds: str, competence: Competence) -> dict[str, Competence]:
    return dict.fromkeys(kinds.split(), competence)


_SURE = Competence(0.98)

PROFILES: Mapping[str, Mapping[str, Competence]] = {
    # A desk calculator with a solver for linear equations: any number of digits, four operations.
    "calc": {
        **_each("sum difference product quotient expression", _SURE),
        **_each("linear two_sided riddle system", _SURE),
        **_each("total average", _SURE),
        **_each("remainder power", Competence(0.7)),
        **_each("percent value", Competence(0.7)),
        **_each("quadratic sequence", Competence(0.55)),
        **_each("metric temperature clock", Competence(0.55)),
        **_each("largest smallest", Competence(0.6)),
        **_each("atomic_number", Competence(0.2)),
    },
    # A conversion table and a calendar; ratios and the periodic table come with them.
    "units": {
        **_each("metric temperature weekday later between", _SURE),
        **_each("imperial clock", Competence(0.65)),
        **_each("percent", Competence(0.96)),
        **_each("symbol atomic_number element planet", Competence(0.96)),
        **_each("linear value", Competence(0.2)),
        **_each("average", Competence(0.5)),
    },
    # Good with words; miscounts in long ones and in long lists.
    "lingua": {
        **_each("plural unscramble opposite", Competence(0.97)),
        **_each("reverse count_letter length vowels nth_letter", Competence(0.97, reach=9, floor=0.6)),
        **_each("sort_words longest", Competence(0.97, reach=6, floor=0.65)),
        **_each("upper initials", Competence(0.75)),
        **_each("by_length", Competence(0.97)),
        **_each("author", Competence(0.96)),
        **_each("young country", Competence(0.6)),
    },
    # Runs small programs on 32-bit numbers: good with long input, no knowledge of meaning.
    "coder": {
        **_each("remainder power", Competence(0.97)),
        **_each("expression sum difference product quotient", Competence(0.85, reach=4, floor=0.3)),
        **_each("quadratic value sequence", Competence(0.97)),
        **_each("linear two_sided", Competence(0.7, reach=2, floor=0.2)),
        **_each("clock", Competence(0.97)),
        **_each("between later", Competence(0.4)),
        **_each("reverse count_letter length vowels nth_letter", Competence(0.88)),
        **_each("sort_words longest", Competence(0.88)),
        **_each("upper initials", Competence(0.5)),
        **_each("sort_numbers largest smallest second evens above distinct reverse_list snippet", Competence(0.97)),
        **_each("total average", Competence(0.75)),
        **_each("by_length", Competence(0.65)),
        **_each("repair", Competence(0.95, reach=60, floor=0.5, fade=0.01)),
    },
    # Maps, history and old measures; some science.
    "atlas": {
        **_each("capital country continent year", _SURE),
        **_each("imperial", Competence(0.95)),
        **_each("atomic_number symbol element planet author", Competence(0.7)),
        **_each("young", Competence(0.5)),
        **_each("percent", Competence(0.2)),
    },
    # All kinds of problems, but only easy ones reliably.
    "sage": {
        **_each("sum difference product quotient expression", Competence(0.95, reach=1, floor=0.15, fade=0.15)),
        **_each("remainder power", Competence(0.6, reach=2, floor=0.2, fade=0.15)),
        **_each("percent", Competence(0.6)),
        **_each("linear two_sided riddle system", Competence(0.75, reach=2, floor=0.3, fade=0.2)),
        **_each("quadratic value sequence", Competence(0.45)),
        **_each("metric temperature clock", Competence(0.75, reach=2, floor=0.4, fade=0.15)),
        **_each("imperial", Competence(0.5)),
        **_each("weekday later between", Competence(0.3)),
        **_each("upper initials", Competence(0.97)),
        **_each("opposite plural", Competence(0.8)),
        **_each("reverse count_letter length vowels nth_letter", Competence(0.75, reach=6, floor=0.2, fade=0.12)),
        **_each("sort_words longest by_length", Competence(0.8, reach=4, floor=0.3, fade=0.1)),
        **_each("unscramble", Competence(0.4)),
        **_each(
            "sort_numbers second evens distinct reverse_list above", Competence(0.75, reach=4, floor=0.3, fade=0.1)
        ),
        **_each("largest smallest", Competence(0.9, reach=5, floor=0.5, fade=0.05)),
        **_each("total average", Competence(0.7, reach=4, floor=0.3, fade=0.1)),
        **_each("snippet", Competence(0.4)),
        **_each("repair", Competence(0.6, reach=20, floor=0.1, fade=0.015)),
        **_each("young", Competence(0.97)),
        **_each("capital continent country", Competence(0.85, reach=20, floor=0.35, fade=0.01)),
        **_each("author year", Competence(0.75, reach=10, floor=0.35, fade=0.02)),
        **_each("symbol atomic_number element planet", Competence(0.8, reach=10, floor=0.35, fade=0.02)),
    },
}


def competence(worker: str, problem: Problem) -> float | None:
    """The worker's probability of solving the problem, or `None` if it lacks the skill."""
    skill = PROFILES[worker].get(problem.kind)
    return skill.of(problem.size) if skill else None
