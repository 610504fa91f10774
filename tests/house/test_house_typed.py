"""House questions as people type them."""

from random import Random

from models.house.conductor import TINY, questions
from models.house.typed import typed
from models.house.workers.reading import read


def test_they_are_the_same_problems_to_the_workers_and_seeded():
    asked = [question.messages[-1]["content"] for question in questions(TINY)]
    made = [typed(Random(n), text) for n, text in enumerate(asked)]
    assert made == [typed(Random(n), text) for n, text in enumerate(asked)]
    assert sum(new != text for new, text in zip(made, asked, strict=True)) > 0.6 * len(asked)
    kinds = [[getattr(read(text), "kind", "two-hop") for text in texts] for texts in (asked, made)]
    assert kinds[0] == kinds[1]


def test_signs_lose_their_spaces_and_a_formula_may_stand_alone():
    made = {typed(Random(seed), "What is 17 * 23?") for seed in range(400)}
    assert {"17*23", "17*23=", "What is 17*23?"} <= made and any("please" in text for text in made)
    assert any("\n" in text for text in made) and any(text.islower() for text in made)


def test_programs_and_what_would_be_read_otherwise_stay():
    program = "What does this print?\nprint(1 + 2)"
    assert all(typed(Random(seed), program) == program for seed in range(20))
    # Without its spaces it would be another problem to the workers.
    unclear = "Let x = 5. Compute x^2 + x + 5"
    assert all(read(typed(Random(seed), unclear)).solve() == read(unclear).solve() for seed in range(40))
