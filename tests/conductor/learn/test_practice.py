"""What practice stands on: judged plans, offers, the gate, the failure modes, and workflows carried out for real."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from models.conductor.learn.checks import modes, readiness
from models.conductor.learn.offers import Offers, exercise_for, exercises
from models.conductor.learn.practice import (
    Exercise,
    Outcome,
    Sample,
    attempted,
    in_groups,
    judged,
    mixed,
    rehearse,
    trial,
)
from models.conductor.learn.trials import Stage, carry_out
from models.conductor.plan.workflow import Step, Workflow
from models.conductor.plan.writers import carded_prompt
from models.errors import UpstreamRefused, UpstreamUnavailable
from models.grading.question import Question
from models.house.plans import written
from models.workers.ask import Reply

WORKERS = ("ann", "bob", "cem", "dan")
CARDS = {"ann": "facts 0.91, units 0.32, text 0.05", "bob": "text 0.84", "cem": "", "dan": "lists 0.30"}


def question(number=0):
    asked = {"role": "user", "content": f"What is {number}?"}
    return Question(id=f"q{number}", task="facts", messages=(asked,), reference=str(number))


def exercise(**changes) -> Exercise:
    return replace(exercise_for(question(), WORKERS, WORKERS, CARDS), **changes)


def plan(*models, access="all"):
    return written(
        Workflow(steps=tuple(Step(model=m, subtask=f"Do {i}.", access=access) for i, m in enumerate(models)))
    )


def rewarding(right):
    """Executes nothing: plans whose workers are `right` score 1, "outage" is one."""

    def execute(trials):
        asked = [tuple(t.exercise.workers[s.model] for s in t.workflow.steps) for t in trials]
        return [None if "dan" in names else Outcome(float(names in right), "x") for names in asked]

    return execute


# Judging


def test_rewards_are_0_for_what_cannot_be_run_half_for_wrong_1_for_right_and_none_after_an_outage():
    texts = ["no plan", plan(9), plan(1), plan(0), plan(3)]
    samples = attempted(texts, [exercise()] * 5, rewarding({("ann",)}))
    assert [sample.reward for sample in samples] == [0.0, 0.0, 0.5, 1.0, None]
    assert [sample.workflow is None for sample in samples] == [True, False, False, False, False]


def test_only_what_can_be_run_is_carried_out_and_without_its_unread_steps():
    seen = []

    def execute(trials):
        seen.extend(trials)
        return [Outcome(1.0, "") for _ in trials]

    attempted([plan(0, 1, access=()), "nothing"], [exercise(), exercise()], execute)
    assert [len(trial.workflow.steps) for trial in seen] == [1]


def test_accepting_is_legal_in_a_second_round_only():
    first = exercise()
    second = replace(first, second=True, request=replace(first.request, previous="Answer: 0"))
    empty = written(Workflow(steps=()))
    assert judged(empty, first).fault and not judged(empty, second).fault


def test_a_group_is_one_exercise_and_outages_do_not_mix_it():
    both = [exercise(), exercise()]
    samples = rehearse(lambda requests: [plan(0), plan(3), plan(0), plan(1)], both, rewarding({("ann",)}), times=2)
    groups = in_groups(samples)
    assert [len(group) for group in groups] == [2, 2]
    assert [mixed(group) for group in groups] == [False, True]


# The gate


@pytest.mark.parametrize(
    ("texts", "ready", "told"),
    [
        ([plan(0), plan(1)] * 4, True, "ready for GRPO"),
        ([plan(0), plan(0)] * 4, False, "mixed rewards 0% is below 25%"),
        (["", "", "", plan(0)] * 2, False, "parsed completions 25% is below 80%"),
    ],
)
def test_the_gate_says_which_figure_missed_it(texts, ready, told):
    samples = rehearse(lambda requests: texts, [exercise() for _ in range(4)], rewarding({("ann",)}), times=2)
    found = readiness(samples)
    assert found.ready is ready
    assert told in found.line


# Offers


def test_fixed_offers_mask_and_shuffled_ones_renumber_with_the_cards():
    fixed = exercises([question()], WORKERS, CARDS, Offers(least=2, most=2), count=20, seed=1)
    assert all(each.workers == WORKERS and sum(each.allowed) == 2 for each in fixed)
    shuffled = exercises([question()], WORKERS, CARDS, Offers(least=2, most=3, shuffled=True), count=40, seed=1)
    assert all(all(each.allowed) for each in shuffled)
    for each in shuffled:
        assert [card.text for card in each.request.cards] == [CARDS[name] for name in each.workers]
    assert len({each.workers for each in shuffled}) > 10


def test_every_question_comes_once_before_any_comes_again_with_another_chance():
    asked = [question(n) for n in range(5)]
    given = exercises(asked, WORKERS, {}, Offers(), count=12, seed=0)
    assert Counter(each.question for each in given[:5]) == Counter(q.id for q in asked)
    assert [each.replicate for each in given] == [0] * 5 + [1] * 5 + [2] * 2
    assert given == exercises(asked, WORKERS, {}, Offers(), count=12, seed=0)
    assert given != exercises(asked, WORKERS, {}, Offers(), count=12, seed=1)


def test_workers_that_are_kept_apart_are_never_offered_together():
    apart = (frozenset({"ann", "bob"}),)
    given = exercises([question()], WORKERS, {}, Offers(least=2, apart=apart), count=60, seed=0)
    assert not any({"ann", "bob"} <= set(each.offered) for each in given)


def test_a_carded_prompt_tells_the_offered_skills_and_a_plan_may_name_them():
    given = exercise()
    assert carded_prompt(given.request) == "question: What is 0?\nskills: facts lists text units\nsteps: 5\n"
    asked = ({"role": "user", "content": "What\nis\n0?"},)
    several = carded_prompt(replace(given.request, messages=asked))
    assert several == "question: What\nis\n0?\nskills: facts lists text units\nsteps: 5\n"
    by_skill = judged(plan(0, 1).replace("[0, 1]", '["units", "text"]'), given)
    assert by_skill.asked == ("ann", "bob") and not by_skill.fault
    assert given.request.skills == {"facts": 0, "lists": 3, "text": 1, "units": 0}
    assert "model's number" in judged(plan(0).replace("[0]", '["law"]', 1), given).fault


def test_a_skill_is_whoevers_card_says_most_of_it_under_whatever_number():
    cards = {"ann": "facts 0.91, text 0.40", "bob": "text 0.84, units 0.29", "cem": "text 0.84, units 0.05"}
    for seed in range(20):
        given = exercise_for(question(), WORKERS[:3], WORKERS, cards, shuffle=Random(seed))
        best = {task: given.workers[ordinal] for task, ordinal in given.request.skills.items()}
        assert best["facts"] == "ann" and best["text"] in ("bob", "cem") and best["units"] == "bob"
        assert carded_prompt(given.request).splitlines()[1] == "skills: facts text"


# Failure modes


def seen(before, after, given=None, right=frozenset({("ann",)})):
    given = given or [exercise() for _ in range(8)]
    both = [attempted([text] * len(given), given, rewarding(right)) for text in (before, after)]
    return {mode.name for mode in modes(*both) if mode.seen}


def test_each_failure_mode_is_named_when_it_comes():
    pair = frozenset({("ann", "bob")})
    assert "collapse onto one worker" in seen(plan(0, 1), plan(0))
    assert "one-step passthrough" in seen(plan(0, 1), plan(0), right=pair)
    assert "over-orchestration" in seen(plan(0), plan(0, 1, 2))
    assert "format drift" in seen(plan(0), "model_id = [0")
    shuffled = exercises([question()], WORKERS, {}, Offers(least=3, shuffled=True), count=40, seed=0)
    assert "memorised ordinals" in seen("", plan(0), given=shuffled)


def test_a_collapse_shows_where_the_worker_is_offered():
    pairs = [sorted(pair) for pair in combinations(range(4), 2)]
    given = [exercise_for(question(), [WORKERS[i] for i in pair], WORKERS, {}) for pair in pairs]
    evenly, always = ([plan(pair[turn]) for pair in pairs for turn in turns] for turns in ((0, 1), (0, 0)))
    twice = [each for each in given for _ in range(2)]
    before, after = (attempted(texts, twice, rewarding(frozenset())) for texts in (evenly, always))
    (mode,) = [mode for mode in modes(before, after) if mode.name == "collapse onto one worker"]
    assert (mode.before, mode.after) == (0.5, 1.0)


def test_what_was_there_before_is_not_the_trainings_doing():
    assert seen(plan(0), plan(0)) == set()
    assert seen("", "") == set()


def test_fixed_ordinals_are_no_memorised_ones():
    assert "memorised ordinals" not in seen(plan(1), plan(0))


# Carried out


class Desk:
    """Answers what it is told to; notes what it was asked."""

    def __init__(self, replies):
        self.replies, self.asked = replies, []

    async def ask(self, ask):
        self.asked.append(ask)
        said = self.replies[ask.worker]
        if isinstance(said, Exception):
            raise said
        return Reply(worker=ask.worker, revision=ask.revision, text=said)


def outcome(workflow, replies, **changes):
    desk = Desk(replies)
    stage = Stage({"q0": question()}, dict.fromkeys(WORKERS, "1"), "measure:1", desk.ask)
    return asyncio.run(carry_out(trial(Sample(exercise(**changes), "", workflow, "")), stage)), desk.asked


CHAIN = Workflow(steps=(Step(model=0, subtask="Find it."), Step(model=1, subtask="Say it.", access=(0,))))


def test_a_step_sees_what_its_access_list_allows_and_the_last_reply_is_graded():
    found, asked = outcome(CHAIN, {"ann": "It is 0.", "bob": "Answer: 0"})
    assert found == Outcome(1.0, "Answer: 0")
    assert [ask.worker for ask in asked] == ["ann", "bob"]
    assert [message["content"] for message in asked[1].messages] == [
        "What is 0?", "Step 1, subtask: Find it.", "It is 0.", "Step 2, your subtask: Say it.",
    ]  # fmt: skip


def test_equal_steps_of_two_trials_are_one_call_and_of_one_plan_two_samples():
    twice = Workflow(
        steps=(
            Step(model=0, subtask="Go."),
            Step(model=0, subtask="Go."),
            Step(model=1, subtask="Say it.", access=(0, 1)),
        )
    )
    _, first = outcome(twice, {"ann": "0", "bob": "0"})
    _, again = outcome(twice, {"ann": "0", "bob": "0"})
    _, later = outcome(twice, {"ann": "0", "bob": "0"}, replicate=1)
    assert [ask.identity for ask in first] == [ask.identity for ask in again]
    assert len({ask.identity for ask in [*first, *later]}) == 6


def test_a_second_round_asks_anew_and_is_shown_the_first_ones_answer():
    workflow = Workflow(steps=(Step(model=0, subtask="Check it.", access="all"),))
    request = replace(exercise().request, previous="Answer: 1")
    _, first = outcome(workflow, {"ann": "0"}, request=request)
    _, second = outcome(workflow, {"ann": "0"}, request=request, second=True)
    assert "Answer: 1" in [message["content"] for message in second[0].messages]
    assert first[0].messages == second[0].messages and first[0].identity != second[0].identity


def test_a_step_keeps_its_number_where_one_before_it_is_not_read():
    unread = Step(model=2, subtask="Think aloud.")
    workflow = Workflow(steps=(unread, CHAIN.steps[0], CHAIN.steps[1].model_copy(update={"access": (1,)})))
    _, asked = outcome(workflow, {"ann": "It is 0.", "bob": "Answer: 0"})
    assert [ask.replicate for ask in asked] == [1, 2]
    assert asked[1].messages[-1]["content"] == "Step 3, your subtask: Say it."


def test_an_accepted_answer_is_graded_as_it_is_and_asks_nobody():
    given = exercise()
    request = replace(given.request, previous="Answer: 0")
    found, asked = outcome(Workflow(steps=()), {}, request=request)
    assert found.score == 1.0 and asked == []


def test_a_refused_prompt_is_a_wrong_answer_and_an_outage_is_raised():
    refused, _ = outcome(CHAIN, {"ann": UpstreamRefused("too long", 400), "bob": "Answer: 0"})
    assert refused == Outcome(0.0, "")
    with pytest.raises(UpstreamUnavailable):
        outcome(CHAIN, {"ann": UpstreamUnavailable("gone"), "bob": "Answer: 0"})
