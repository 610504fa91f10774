"""A worker's reply in each of the three roles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from models.errors import NotFound
from models.house.workers import files
from models.house.workers.brief import Brief, final_answer, read_brief
from models.house.workers.noise import Noise
from models.house.workers.problem import Problem, TwoHop
from models.house.workers.profiles import PROFILES, competence
from models.house.workers.reading import read, read_alone

GUESS = "This is only a guess."
"""How the reply of a worker begins that lacks the skill."""


def answer(worker: str, messages: Sequence[Mapping[str, Any]], seed: int | None = None) -> str:
    """The reply of `worker` to `messages`: a function of the messages, the seed and the worker's name.

    Raises NotFound for an unknown worker.
    """
    if worker not in PROFILES:
        raise NotFound(f"no house worker {worker!r}; there are {', '.join(PROFILES)}")
    brief = read_brief(messages)
    problem, noise = read(brief.question), Noise(worker, seed, len(brief.objections))
    if brief.role == "THINKER":
        return _advise(worker, problem, brief)
    if brief.role == "VERIFIER":
        return _verify(worker, problem, brief, noise)
    if isinstance(problem, TwoHop):
        return _solve_two(worker, problem, brief, noise)
    return _solve(worker, problem, brief, noise)


def _work_out(worker: str, problem: Problem, noise: Noise) -> str | None:
    """The worker's result, right or wrong; `None` if it lacks the skill or the computation fails."""
    chance = competence(worker, problem)
    if chance is None:
        return None
    try:
        right = problem.solve()
    except (ArithmeticError, ValueError):
        return None
    if noise.succeeds(chance):
        return right
    return noise.one_of(problem.slips()) if problem.slips else noise.slip(right, problem.form)


def _solve(worker: str, problem: Problem | None, brief: Brief, noise: Noise) -> str:
    if problem is not None and (result := _work_out(worker, problem, noise)) is not None:
        return f"{_INTRODUCTIONS[worker]}\n{_stating(problem, result)}"
    if claimed := [result for objection in brief.objections for result in _CLAIM.findall(objection)]:
        return f"I rely on the objection here.\n{_stating(problem, claimed[-1])}"
    earlier = [found for thought in brief.thoughts if (found := _stated(problem, thought))]
    if earlier:
        return f"I rely on the earlier thoughts here.\n{_stating(problem, earlier[-1])}"
    guess = noise.guess(brief.question, problem.form) if problem is not None and problem.form != "file" else None
    return f"{GUESS}\nAnswer: {guess}" if guess else noise.shrug()


def _stating(problem: Problem | None, result: str) -> str:
    """A result as the end of a reply; a file is given as it is."""
    return result if problem is not None and problem.form == "file" else f"Answer: {result}"


def _stated(problem: Problem | TwoHop | None, reply: str) -> str | None:
    """The result that a reply ends with."""
    of_a_file = isinstance(problem, Problem) and problem.form == "file"
    return files.stated(reply) if of_a_file else final_answer(reply)


def _solve_two(worker: str, problem: TwoHop, brief: Brief, noise: Noise) -> str:
    """One step per reply: the first result if no thought contains it yet, else the rest of the question."""
    value = _found(problem, brief)
    if value is not None:
        return _solve(worker, problem.then(value), brief, noise)
    if (result := _work_out(worker, problem.first, noise)) is not None:
        return f"{problem.phrase[0].upper()}{problem.phrase[1:]} is {result}."
    if problem.second_kind in PROFILES[worker]:
        return f"I could do the rest, but first I would need to know this: {problem.phrase}."
    return _solve(worker, None, brief, noise)


def _found(problem: TwoHop, brief: Brief) -> str | None:
    """The first result, from the latest thought that states it or that answers a subtask asking for it."""
    stated = re.compile(re.escape(problem.phrase) + r" is (.+?)\.(?=\s|$)", re.IGNORECASE)
    for subtask, thought in zip(reversed(brief.asked), reversed(brief.thoughts), strict=True):
        if found := stated.search(thought):
            return found.group(1)
        own = read_alone(subtask)
        if isinstance(own, Problem) and own.kind == problem.first.kind:
            return final_answer(thought)
    return None


def _verify(worker: str, problem: Problem | TwoHop | None, brief: Brief, noise: Noise) -> str:
    proposed = _stated(problem, brief.proposed)
    if proposed is None:
        return "REJECT There is no final answer."
    own = _work_out(worker, problem, noise) if isinstance(problem, Problem) else None
    if own is None or _agree(own, proposed):
        return "ACCEPT"
    return "REJECT I get another result." if "\n" in own else f"REJECT I get {own} instead."


_CLAIM = re.compile(r"REJECT I get (.+) instead\.")
"""A verifier's own result."""


def _agree(own: str, proposed: str) -> bool:
    try:
        return Fraction(own) == Fraction(proposed.rstrip("."))
    except (ValueError, ZeroDivisionError):
        return own.casefold().split() == proposed.casefold().rstrip(".").split()


def _advise(worker: str, problem: Problem | TwoHop | None, brief: Brief) -> str:
    if isinstance(problem, TwoHop):
        known = _found(problem, brief)
        step = problem.first.kind if known is None else problem.second_kind
        words = f"Find {problem.phrase} first" if known is None else f"Use that {problem.phrase} is {known}"
        return _suggest(f"{words}; this step is about: {step.replace('_', ' ')}.", "SOLVER")
    if problem is None or competence(worker, problem) is None:
        return _suggest("Read the request slowly and ask someone who knows the field.", "SOLVER")
    done = any(_stated(problem, thought) for thought in brief.thoughts)
    return _suggest(f"This is about: {problem.kind.replace('_', ' ')}.", "VERIFIER" if done else "SOLVER")


def _suggest(words: str, role: str) -> str:
    return f"<suggestion>{words}</suggestion>\n<suggested_role>{role}</suggested_role>"


_INTRODUCTIONS = {
    "calc": "Computed exactly.",
    "units": "Looked up and converted.",
    "lingua": "Letter by letter.",
    "coder": "I ran this as a small program.",
    "atlas": "According to my tables.",
    "sage": "Let me think about it.",
}
