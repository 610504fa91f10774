"""The house conductor: the pipeline that makes it, at a tiny size, and the one that is shipped."""

import json
from random import Random

import pytest
from conductor import ALL, masks, sit
from pupil import Pupil, best_workflow, single_scores

from models.conductor.plan.familiar import Familiarity
from models.conductor.plan.prompt import Card
from models.conductor.plan.taught import Taught
from models.conductor.plan.workflow import Step, Workflow, lint, parse
from models.conductor.plan.writers import PlanRequest
from models.errors import NotTaught
from models.house import conductor
from models.house.plans import two_steps, written
from models.house.provider import COUNTER
from models.house.questions import KINDS
from models.house.rehearsal import WORKERS, chance, replies, score
from models.house.typed import typed
from models.house.wordings import plan_wordings
from models.house.workers.reading import read_alone
from models.workers.ask import seed_for
from models.workers.pool import Pool
from tasks.setup.settings import PROJECT

SHIPPED = PROJECT / "data" / "conductor"


def mean(values):
    values = list(values)
    return sum(values) / len(values)


# Written workflows


def test_every_kind_of_question_has_subtasks():
    assert set(plan_wordings().two_hop) == {kind.name for kind in KINDS["two_hop"]}
    assert set(plan_wordings().single_hop) == {
        kind.name for family, kinds in KINDS.items() if family != "two_hop" for kind in kinds
    }


def test_no_written_subtask_poses_a_problem_of_its_own():
    texts = {text for texts in plan_wordings().single_hop.values() for text in texts}
    texts |= {text for both in plan_wordings().two_hop.values() for text in (*both.first, *both.second)}
    texts |= {step.subtask for seed in range(20) for step in two_steps("sum", 0, 1, Random(seed)).steps}
    assert [text for text in texts if read_alone(text) is not None] == []


def test_a_written_plan_reads_back_as_itself_and_is_legal():
    for seed in range(50):
        plan = two_steps("capital_length", 4, 2, Random(seed))
        assert parse(written(plan)) == plan and lint(plan, allowed=[True] * 6) == ()
    assert parse(written(Workflow(steps=()))) == Workflow(steps=())


# Rehearsals


@pytest.fixture(scope="module")
def held_out():
    return conductor.questions(conductor.DEFAULT, test=200, unseen=50)


@pytest.fixture(scope="module")
def tested(held_out):
    return [question for question in held_out if question.split == "test"]


def test_a_rehearsal_shows_a_step_what_its_access_list_allows_and_counts_no_call(monkeypatch, tmp_path, tested):
    monkeypatch.setenv(COUNTER, str(tmp_path / "asked"))
    question = next(question for question in tested if "capital_length" in question.tags)
    plan = two_steps("capital_length", WORKERS.index("atlas"), WORKERS.index("lingua"))
    blind = Workflow(steps=(plan.steps[0], Step(model=plan.steps[1].model, subtask=plan.steps[1].subtask, access=())))
    assert score(plan, question, None) == 1.0
    assert replies(blind, question, None)[0] == replies(plan, question, None)[0]
    assert score(blind, question, None) == 0.0
    assert not (tmp_path / "asked").exists()


def test_a_second_round_builds_on_the_first_ones_answer_and_does_not_meet_its_luck_again(tested):
    question = next(question for question in tested if "capital_length" in question.tags)
    first, second = two_steps("capital_length", WORKERS.index("atlas"), WORKERS.index("lingua")).steps
    (found,) = replies(Workflow(steps=(first,)), question, None)
    rest = Workflow(steps=(Step(model=second.model, subtask=second.subtask, access="all"),))
    assert score(rest, question, None) == 0.0
    assert score(rest, question, None, previous=found) == 1.0
    assert chance(question) == seed_for(question.id, 0) != chance(question, second=True)


def test_some_plan_of_two_steps_solves_what_no_worker_solves_alone(tested):
    two_hop = [question for question in tested if "two-hop" in question.tags][:40]
    assert max(max(single_scores(question)) for question in two_hop) == 0.0
    assert mean(best_workflow(question) for question in two_hop) > 0.9


@pytest.fixture(scope="module")
def examples():
    return list(conductor.rehearsed(conductor.questions(conductor.TINY), conductor.TINY))


def test_what_it_learns_from_is_seeded(examples):
    first = list(conductor.rehearsed(conductor.questions(conductor.TINY)[:20], conductor.TINY))
    assert first == examples[: len(first)]


def test_what_it_learns_from_is_legal_for_what_is_offered(examples):
    for example in examples:
        models, steps = example.prompt.rsplit("models: ", 1)[1].split("\n")[:2]
        offered = {int(ordinal) for ordinal in models.split()}
        plan = parse(example.completion)
        allowed = [ordinal in offered for ordinal in range(max(offered) + 1)]
        assert lint(plan, allowed=allowed, accepting="previous: " in example.prompt) == ()
        assert len(plan.steps) <= int(steps.removeprefix("steps: "))


def test_it_learns_short_plans_for_single_hops_and_to_accept_right_answers(examples):
    lengths = [len(parse(example.completion).steps) for example in examples]
    assert lengths.count(1) > 2 * lengths.count(2) > 0
    rounds = [parse(example.completion).steps == () for example in examples if "previous: " in example.prompt]
    assert 0.3 < mean(rounds) < 0.9
    assert mean(rounds) * len(rounds) == lengths.count(0)


def test_no_worker_is_named_to_it(examples):
    assert not any(f"{name} " in example.prompt for example in examples for name in ("lingua", "atlas", "coder"))


# Made from nothing


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    told = []
    folder = conductor.make(tmp_path_factory.mktemp("conductor"), conductor.TINY, told.append)
    assert told[-1] == 1.0
    return folder


def test_a_tiny_one_is_made_in_seconds_and_writes_plans(tiny, tested):
    recipe = json.loads((tiny / "recipe.json").read_text())
    assert recipe["digest"] == conductor.TINY.digest
    sat = sit(Pupil.of(tiny), tested[:40])
    assert mean(not each.fault for each in sat) > 0.8


# The shipped one


@pytest.fixture(scope="module")
def shipped():
    return conductor.load(SHIPPED)


def test_the_shipped_one_is_what_its_recipe_says_and_small():
    recipe = json.loads((SHIPPED / "recipe.json").read_text())
    assert recipe["digest"] == conductor.DEFAULT.digest, "the procedure changed: make it again"
    assert recipe["command"] == conductor.COMMAND
    taught = Taught.read(SHIPPED)
    assert taught == Taught.on("compact", Pool.load(PROJECT / "data" / "pools" / "house.yaml"))
    assert all(path.stat().st_size < 5_000_000 for path in SHIPPED.iterdir())
    assert {path.suffix for path in SHIPPED.iterdir()} == {".json", ".safetensors"}


@pytest.mark.programs  # it reads all of the 8,000 questions again
def test_what_is_familiar_to_the_shipped_one_is_what_it_learned():
    assert Familiarity.load(SHIPPED) == conductor.familiarity(conductor.DEFAULT)


@pytest.fixture(scope="module")
def shipped_pupil():
    return Pupil.of(SHIPPED)


@pytest.fixture(scope="module")
def planned(shipped_pupil, held_out):
    """What it makes of each question, by the question's id: the dearest of this file, and made once."""
    asked = [question for question in held_out if question.split != "train"]
    return dict(zip([question.id for question in asked], sit(shipped_pupil, asked), strict=True))


def test_its_plans_are_legal_and_beat_every_worker_on_two_hops(planned, held_out):
    asked = [question for question in held_out if question.split != "train"]
    sat = [planned[question.id] for question in asked]
    assert mean(not each.fault for each in sat) >= 0.99, [each.fault for each in sat if each.fault]
    seen = [pair for pair in zip(asked, sat, strict=True) if pair[0].split == "test"]
    two = [each for question, each in seen if "two-hop" in question.tags]
    one = [(question, each) for question, each in seen if "two-hop" not in question.tags]
    assert len(two) >= 45 and mean(each.score for each in two) >= 0.75
    assert mean(len(each.asked) == 1 for _, each in one if not each.fault) > 0.95
    best_single = max(mean(scores) for scores in zip(*(single_scores(question) for question, _ in one), strict=True))
    assert mean(each.score for _, each in one) > best_single + 0.2


def test_it_keeps_to_who_may_be_asked(shipped_pupil, tested):
    sat = sit(shipped_pupil, tested, masks(200, seed=1))
    assert mean(not each.fault for each in sat) >= 0.97, [each.fault for each in sat if each.fault]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello!",
        "Write me a poem about autumn leaves.",
        "((((",
        "日本の首都はどこですか",
        "I like my garden. " * 99,
        "models: 9\n",
    ],
)
def test_any_text_gets_a_plan(shipped, text):
    [written] = shipped.write_many([request_for(text)])
    plan = parse(written)
    assert isinstance(plan, Workflow) and lint(plan, allowed=[True] * 6) == ()


def request_for(text):
    return PlanRequest(({"role": "user", "content": text},), tuple(Card(ordinal=ordinal, text="") for ordinal in ALL))


async def test_what_is_far_from_its_lessons_gets_none(shipped, held_out):
    with pytest.raises(NotTaught, match="far from everything"):
        await shipped.write(request_for("Write me code for binary search"))
    assert parse(await shipped.write(request_for("what's 17*23"))).steps
    far = [shipped.familiarity.is_far(q.messages[-1]["content"]) for q in held_out if q.split != "train"]
    assert mean(far) <= 0.02


def test_it_plans_for_what_people_type_as_well(shipped_pupil, planned, tested):
    rng = Random(7)
    some = [question for question in tested if "\n" not in question.messages[-1]["content"]][:100]
    texts = [typed(rng, question.messages[-1]["content"]) for question in some]
    as_typed = [
        question.model_copy(update={"messages": ({"role": "user", "content": text},)})
        for question, text in zip(some, texts, strict=True)
    ]
    assert mean(a.messages != b.messages for a, b in zip(some, as_typed, strict=True)) > 0.6
    plain = mean(planned[question.id].score for question in some)
    loose = mean(each.score for each in sit(shipped_pupil, as_typed))
    assert loose > plain - 0.05
