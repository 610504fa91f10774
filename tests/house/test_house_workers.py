import re
from pathlib import Path

import pytest

import models.house
from models.errors import NotFound
from models.fugu.roles import Note, Role, accepts, messages_for, note_of, suggested_role, suggestion
from models.grading.grade import grade
from models.house.questions import SINGLE_HOP, generate
from models.house.workers import answer
from models.house.workers.profiles import PROFILES, competence
from models.house.workers.reading import read

WORKERS = tuple(PROFILES)


def ask(worker, text, seed=None):
    return answer(worker, [{"role": "user", "content": text}], seed)


@pytest.fixture(scope="module")
def questions():
    return generate(11, {"test": 2400, "unseen": 600})


@pytest.fixture(scope="module")
def expected(questions):
    """Per single-hop question its family and each worker's expected score, as its text implies it."""
    rows = []
    for question in questions:
        if question.task != "two_hop":
            problem = read(question.messages[0]["content"])
            rows.append((question.task, [competence(worker, problem) or 0.0 for worker in WORKERS]))
    return rows


def test_the_question_in_the_readme_is_answered_by_the_house():
    readme = Path(models.house.__file__).parents[2] / "README.md"
    question = re.search(r'model="fugu", messages=\[\{"role": "user", "content": "(.+?)"\}\]', readme.read_text())
    assert question is not None
    assert [worker for worker in WORKERS if ask(worker, question[1]).endswith("Answer: 67")] == ["units"]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_scores_agree_with_the_competence_that_the_text_implies(questions):
    for worker in WORKERS:
        sample = [q for q in questions if q.task != "two_hop"][:900]
        scored = mean(grade(q, answer(worker, q.messages, i)).score for i, q in enumerate(sample))
        implied = mean(competence(worker, read(q.messages[0]["content"])) or 0.0 for q in sample)
        assert scored == pytest.approx(implied, abs=0.04)


def test_the_pool_leaves_a_router_something_to_gain(expected):
    singles = [mean(scores[w] for _, scores in expected) for w in range(len(WORKERS))]
    oracle = mean(max(scores) for _, scores in expected)
    table = 0.0
    for family in SINGLE_HOP:
        rows = [scores for task, scores in expected if task == family]
        table += max(mean(row[w] for row in rows) for w in range(len(WORKERS))) * len(rows) / len(expected)
    assert 0.45 <= max(singles) <= 0.6
    assert oracle >= 0.93
    assert 0.05 <= oracle - table <= 0.12
    assert sorted(singles).index(singles[WORKERS.index("sage")]) >= len(WORKERS) - 2


def test_every_worker_is_best_somewhere_and_no_family_has_one_best_worker(expected):
    best = [(family, max(range(len(WORKERS)), key=scores.__getitem__)) for family, scores in expected]
    assert {worker for _, worker in best} == set(range(len(WORKERS)))
    for family in SINGLE_HOP:
        assert len({worker for task, worker in best if task == family}) >= 2


def test_a_reply_is_a_function_of_text_seed_and_worker():
    text = "Multiply 23457 by 8812."
    replies = {ask("sage", text, seed) for seed in range(40)}
    assert len(replies) > 1
    assert all(ask("sage", text, seed) == ask("sage", text, seed) for seed in range(5))


def test_workers_err_independently_of_each_other():
    from models.house.workers.noise import Noise

    lucky = [(Noise("calc", s).succeeds(0.5), Noise("sage", s).succeeds(0.5)) for s in range(600)]
    both, first, second = (
        mean(f(a, b) for a, b in lucky) for f in (lambda a, b: a and b, lambda a, _: a, lambda _, b: b)
    )
    assert both == pytest.approx(first * second, abs=0.06)


def test_big_numbers_are_exact():
    reply = ask("calc", "What is 123456789123456789 * 987654321987654321?")
    assert reply.endswith(str(123456789123456789 * 987654321987654321))


def test_outside_of_its_skill_a_worker_is_wrong_or_says_so(questions):
    sums = [q for q in questions if q.task == "arithmetic"][:200]
    assert mean(grade(q, answer("lingua", q.messages, i)).score for i, q in enumerate(sums)) < 0.03


def test_a_reply_does_not_depend_on_question_ids_or_other_fields():
    plain = ask("atlas", "What is the capital of Peru?", 5)
    parts = [{"type": "text", "text": "What is the capital of Peru?"}]
    dressed = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": parts, "name": "house-0123456789abcdef"},
    ]
    assert answer("atlas", dressed, 5) == plain
    assert "Lima" in plain


@pytest.mark.parametrize("text", ["", "Hello!", "Write me a poem about autumn leaves.", "1 / 0", "(((", "'", "9^9^9^9"])
def test_any_text_gets_a_reply(text):
    for worker in WORKERS:
        assert ask(worker, text, 1)


def test_messages_without_a_question_get_a_reply():
    assert answer("sage", [], 1) and answer("sage", [{"role": "user", "content": None}], 1)


def test_an_unknown_worker_is_named():
    with pytest.raises(NotFound, match="nobody"):
        ask("nobody", "What is 1 + 1?")


CONVERSATION = [{"role": "user", "content": "Multiply the number of letters in 'banana' by 41717."}]


def as_solver(worker, thoughts=()):
    return answer(worker, messages_for(Role.SOLVER, CONVERSATION, noted(thoughts)), None)


def noted(thoughts):
    return [Note(Role.SOLVER, number, text) for number, text in enumerate(thoughts)]


def test_two_hops_take_two_workers():
    first = as_solver("lingua")
    assert first == "The number of letters in 'banana' is 6."
    assert as_solver("calc", [first]).endswith("Answer: 250302")
    assert "Answer" not in as_solver("calc"), "without the thought the second worker cannot finish"


def test_no_worker_answers_a_two_hop_question_in_one_reply(questions):
    for question in [q for q in questions if q.task == "two_hop"]:
        assert mean(grade(question, answer(worker, question.messages, 5)).score for worker in WORKERS) == 0.0


def test_two_workers_in_sequence_answer_most_two_hop_questions(questions):
    solved = []
    for i, question in enumerate([q for q in questions if q.task == "two_hop"][:120]):
        chains = [
            answer(
                second, messages_for(Role.SOLVER, question.messages, noted([answer(first, question.messages, i)])), i
            )
            for first in WORKERS
            for second in WORKERS
        ]
        solved.append(any(grade(question, reply).score for reply in chains))
    assert mean(solved) > 0.9


def test_a_wrong_first_thought_leads_astray():
    assert as_solver("calc", ["The number of letters in 'banana' is 7."]).endswith("Answer: 292019")


def test_without_the_skill_a_solver_repeats_the_answer_of_an_earlier_thought():
    messages = messages_for(Role.SOLVER, [{"role": "user", "content": "What is 12 * 12?"}], noted(["Answer: 144"]))
    assert answer("atlas", messages).endswith("Answer: 144")


@pytest.mark.parametrize(
    ("worker", "proposed", "accepted"),
    [
        ("calc", "Answer: 391", True),
        ("calc", "Answer: 391.0", True),
        ("calc", "Answer: 392", False),
        ("calc", "I would say it is about four hundred.", False),
        ("lingua", "Answer: 17", True),
        ("lingua", "No idea.", False),
    ],
)
def test_a_verifier_recomputes_or_judges_the_form(worker, proposed, accepted):
    conversation = [{"role": "user", "content": "What is 17 * 23?"}]
    reply = answer(worker, messages_for(Role.VERIFIER, conversation, latest=proposed))
    assert accepts(reply) is accepted
    assert accepted or reply.startswith("REJECT")


def test_a_solver_reads_the_objection_to_an_earlier_thought():
    conversation = [{"role": "user", "content": "What is 17 * 23?"}]
    notes = noted(["This is only a guess.\nAnswer: 26"])
    objection = answer("calc", messages_for(Role.VERIFIER, conversation, latest=notes[0].text))
    notes.append(note_of(Role.VERIFIER, objection, notes))
    assert answer("atlas", messages_for(Role.SOLVER, conversation, notes)).endswith("Answer: 391")
    notes[-1] = note_of(Role.VERIFIER, "REJECT I do not like it.", notes[:1])
    assert answer("atlas", messages_for(Role.SOLVER, conversation, notes)).endswith("Answer: 26")
    assert answer("calc", messages_for(Role.SOLVER, conversation, notes)).endswith("Answer: 391")


def test_who_is_told_of_a_mistake_has_other_luck():
    conversation = [{"role": "user", "content": "What is 4817 * 9231?"}]
    told = [*noted(["Answer: 1"]), Note(Role.VERIFIER, 0, "REJECT There is a mistake.")]
    again = [answer("sage", messages_for(Role.SOLVER, conversation, told), seed) for seed in range(40)]
    assert again != [answer("sage", messages_for(Role.SOLVER, conversation, told[:1]), seed) for seed in range(40)]


def test_a_thinker_names_the_next_step_and_a_role():
    reply = answer("calc", messages_for(Role.THINKER, CONVERSATION))
    assert "number of letters" in suggestion(reply) and suggested_role(reply) is Role.SOLVER
    thought = "The number of letters in 'banana' is 6."
    assert "product" in suggestion(answer("calc", messages_for(Role.THINKER, CONVERSATION, noted([thought]))))
