import re
from collections import Counter

import pytest

from models.errors import BadInput
from models.grading.grade import check, grade
from models.house.questions import FAMILIES, KINDS, SPLITS, generate
from models.house.workers.problem import TwoHop
from models.house.workers.reading import read

COUNTS = {"train": 2500, "validation": 500, "test": 4600, "unseen": 1200}


@pytest.fixture(scope="module")
def questions():
    return generate(7, COUNTS)


def text(question):
    return question.messages[0]["content"]


def test_every_question_is_distinct_in_text_and_id(questions):
    assert len(questions) == sum(COUNTS.values()) >= 8000
    assert len({text(q) for q in questions}) == len({q.id for q in questions}) == len(questions)
    assert Counter(q.split for q in questions) == COUNTS
    assert all(q.id.startswith("house-") for q in questions)


def test_equal_seeds_give_equal_questions_and_others_do_not():
    counts = {"train": 60, "unseen": 30}
    assert generate(1, counts) == generate(1, counts)
    assert {q.id for q in generate(1, counts)}.isdisjoint(q.id for q in generate(2, counts) if len(text(q)) > 60)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_holds_all_families_and_its_share_of_two_hop_questions(questions, split):
    here = [q for q in questions if q.split == split]
    assert {q.task for q in here} == set(FAMILIES)
    two_hop = [q for q in here if "two-hop" in q.tags]
    assert len(two_hop) == round(0.12 * len(here)) and all(q.task == "two_hop" for q in two_hop)


def test_a_family_has_thirty_phrasings_of_which_about_six_are_held_out():
    for kinds in KINDS.values():
        seen = {phrasing for kind in kinds for phrasing in kind.seen}
        unseen = {phrasing for kind in kinds for phrasing in kind.unseen}
        assert len(seen | unseen) >= 30 and len(seen) >= 20 and len(unseen) >= 6
        assert seen.isdisjoint(unseen)


def test_every_phrasing_is_used_in_its_splits_alone(questions):
    def used(phrasing, where):
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(phrasing)), re.DOTALL)
        return any(pattern.search(body) for body in where)

    for family, kinds in KINDS.items():
        seen = [text(q) for q in questions if q.task == family and q.split != "unseen"]
        unseen = [text(q) for q in questions if q.task == family and q.split == "unseen"]
        for kind in kinds:
            assert all(used(phrasing, seen) for phrasing in kind.seen)
            assert all(used(phrasing, unseen) for phrasing in kind.unseen)
            assert not any(used(phrasing, seen) for phrasing in kind.unseen)


def test_questions_are_short(questions):
    lengths = sorted(len(text(q).split()) for q in questions)
    assert lengths[len(lengths) // 2] <= 20 and lengths[-1] <= 60


def test_the_reference_of_every_question_fits_its_grader(questions):
    for question in questions:
        check(question)
        with pytest.raises(BadInput):  # so that the line above says something
            check(question.model_copy(update={"reference": None}))


def test_seen_and_unseen_phrasings_are_understood_alike(questions):
    """Labels must not depend on the phrasing: the right result is found from either."""
    for question in questions[::3]:
        problem = read(text(question))
        assert isinstance(problem, TwoHop) == (question.task == "two_hop"), text(question)
        if isinstance(problem, TwoHop):
            problem = problem.then(problem.first.solve())
        assert problem is not None, text(question)
        assert grade(question, f"Answer: {problem.solve()}").score == 1.0, text(question)
        if question.task != "two_hop":
            assert problem.kind == question.tags[0]


def test_a_share_of_two_hop_questions_can_be_asked_for():
    assert all(q.task == "two_hop" for q in generate(1, {"test": 40}, two_hop_share=1.0))
    assert not any(q.task == "two_hop" for q in generate(1, {"test": 40}, two_hop_share=0.0))


def test_an_unknown_split_is_named():
    with pytest.raises(BadInput, match="holdout"):
        generate(1, {"holdout": 3})
