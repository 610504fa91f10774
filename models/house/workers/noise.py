"""A worker's randomness, drawn only from the ask's seed and the worker's name."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from models.house.workers.problem import Form, numbers, quoted, show

_SHRUGS = (
    "I do not know that one.",
    "I am not sure about this; it is outside of what I can work out.",
    "Sorry, I cannot tell.",
)


class Noise:
    """Random decisions of a worker; without a seed, the most likely ones.

    `objections`: how many it was told of. Who is told of a mistake works the question out again: with other luck.
    """

    def __init__(self, worker: str, seed: int | None, objections: int = 0) -> None:
        self._random = Random(f"{worker}/{seed}" + (f"/{objections}" if objections else ""))
        self._luck = 0.5 if seed is None else self._random.random()

    def succeeds(self, competence: float) -> bool:
        """Whether a worker that solves a share `competence` (0 to 1) of such problems solves this one."""
        return self._luck < competence

    def slip(self, right: str, form: Form) -> str:
        """A wrong result: close to `right`, never equal to it."""
        if form == "number":
            return _number_slip(right, self._random)
        parts = right.split(", ") if form == "list" else list(right)
        if len(parts) > 1:
            place = self._random.randrange(len(parts) - 1)
            parts[place], parts[place + 1] = parts[place + 1], parts[place]
        slipped = (", " if form == "list" else "").join(parts)
        return slipped if slipped != right else ", ".join(parts[:-1]) if form == "list" and parts[1:] else right + "s"

    def one_of(self, results: Sequence[str]) -> str | None:
        """One of the results, or `None` if there are none."""
        return self._random.choice(results) if results else None

    def guess(self, question: str, form: Form) -> str | None:
        """The guess of a worker without the skill: something of the required form from the text, or `None`."""
        if self._random.random() < 0.4:
            return None
        if form == "number":
            values = numbers(question)
            return show(self._random.choice(values) + self._random.randint(1, 9)) if values else None
        named = quoted(question) or [w.strip("?.,!:") for w in question.split() if w[:1].isupper()][1:]
        return self._random.choice(named) if named else None

    def shrug(self) -> str:
        """A reply that admits not knowing."""
        return self._random.choice(_SHRUGS)


def _number_slip(right: str, random: Random) -> str:
    places = [i for i, character in enumerate(right) if character.isdigit()]
    if not places:
        return right + "1"
    place = random.choice(places)
    digit = (int(right[place]) + random.randint(1, 8)) % 10
    slipped = right[:place] + str(digit) + right[place + 1 :]
    return slipped if not slipped.lstrip("-").startswith("0") or "." in slipped else "1" + slipped.lstrip("-")
