"""A question set keeps its splits, or is dealt by id, or in seeded folds; presets say how much of it there is."""

from __future__ import annotations

import json

import pytest

from models.errors import BadFile, BadInput, IsolationUnavailable, MissingKey
from models.ledger.tables import epochs
from models.workers.pool import Pool
from tasks.setup.preset import load_preset
from tasks.setup.questions import can_be_asked, load_set, wanted_cells


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def row(i, **more):
    return {"id": f"q{i}", "task": "sums", "question": f"{i} + 1?", "grader": "number", "reference": i + 1} | more


COUNTS = load_preset("first-light").questions


def test_questions_without_a_split_are_dealt_by_id_so_that_adding_some_moves_none(tmp_path, ledger):
    few = load_set(write(tmp_path / "few.jsonl", [row(i) for i in range(50)]), COUNTS, ledger)
    many = load_set(write(tmp_path / "many.jsonl", [row(i) for i in range(200)]), COUNTS, ledger)
    splits = {q.id: q.split for q in many.questions}
    assert all(splits[q.id] == q.split for q in few.questions)
    assert {q.split for q in many.questions} == {"train", "validation", "test"}


def test_folds_hold_each_question_out_once(tmp_path, ledger):
    whole = load_set(write(tmp_path / "q.jsonl", [row(i) for i in range(23)]), COUNTS, ledger)
    held_out = [q.id for i in range(5) for q in whole.fold(i, 5, seed=3).split("test")]
    assert sorted(held_out) == sorted(q.id for q in whole.questions)
    assert whole.fold(0, 5, seed=3) != whole.fold(0, 5, seed=4)


def test_the_name_says_the_content(tmp_path, ledger):
    first = load_set(write(tmp_path / "q.jsonl", [row(1), row(2)]), COUNTS, ledger).name
    assert load_set(write(tmp_path / "q.jsonl", [row(1), row(3)]), COUNTS, ledger).name != first


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(1), row(1)], "already on line 1"),
        ([row(1), row(2, grader="unheard-of")], "unheard-of"),
        ([row(1), {"id": "x"}], "task"),
        ([row(1), row(2, split="tset")], "split"),
        ([row(1), row(2, question=5)], "q.jsonl:2: messages"),
    ],
)
def test_a_broken_file_is_one_clear_line_and_registers_nothing(tmp_path, ledger, rows, says):
    with pytest.raises(BadInput, match=says):
        load_set(write(tmp_path / "q.jsonl", rows), COUNTS, ledger)
    with ledger.reading() as connection:
        assert connection.exec_driver_sql("select count(*) from questions").scalar() == 0


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (r'"\ud800"', "surrogates not allowed"),
        ("1" * 5000, "digits"),
        ("[" * 300 + "]" * 300, "depth"),
        ("[" * 100_000 + "]" * 100_000, "recursion"),
    ],
)
def test_json_that_cannot_be_kept_is_one_line_that_names_its_own(tmp_path, ledger, reference, says):
    path = tmp_path / "q.jsonl"
    line = json.dumps(row(1, grader="exact", reference=0)).replace('"reference": 0', '"reference": ' + reference)
    path.write_text(json.dumps(row(0)) + "\n" + line)
    with pytest.raises(BadFile, match=says) as caught:
        load_set(str(path), COUNTS, ledger)
    assert caught.value.line == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["id", "task"])
def test_an_id_or_task_that_the_ledger_has_no_room_for_is_refused(tmp_path, ledger, field):
    load_set(write(tmp_path / "fits.jsonl", [row(1, **{field: "x" * 200})]), COUNTS, ledger)
    with pytest.raises(BadFile, match=f"{field}: .* at most 200"):
        load_set(write(tmp_path / "long.jsonl", [row(1, **{field: "x" * 201})]), COUNTS, ledger)


def test_a_long_file_name_makes_a_set_name_that_the_ledger_has_room_for(tmp_path, ledger):
    name = load_set(write(tmp_path / f"{'long' * 50}.jsonl", [row(1)]), COUNTS, ledger).name
    assert len(name) <= epochs.c.question_set.type.length and name.startswith("longlong")


def test_every_preset_of_the_project_can_be_read():
    for name in ("first-light", "evidence", "released"):
        assert load_preset(name).evolution.questions > 0
    with pytest.raises(BadFile, match="no preset"):
        load_preset("unheard-of")


def test_evidence_holds_out_enough_questions():
    counts = load_preset("evidence").questions
    assert counts.test * 0.88 >= 4000
    assert counts.unseen * 0.88 >= 1000


def test_released_is_the_papers():
    plan = load_preset("released").evolution
    assert (plan.sigma, plan.repeats, plan.population, plan.generations, plan.seed) == (0.03, 16, 0, 60, 42)
    assert (plan.diversity, plan.turns, plan.cost) == (0.15, 0.10, 0.0)


def test_a_question_that_came_with_its_scores_is_not_asked_of_a_live_worker(tmp_path, ledger):
    pool = Pool.model_validate({"name": "p", "workers": [{"name": "w", "model": "house/calc"}]})
    whole = load_set(write(tmp_path / "q.jsonl", [row(1), row(2, grader="recorded")]), COUNTS, ledger)
    with pytest.raises(BadInput, match="'q2' has recorded scores"):
        wanted_cells(ledger, pool, whole, 1)


def test_what_cannot_be_asked_or_graded_is_told_before_anybody_is_paid(tmp_path, ledger, monkeypatch):
    def pool(**worker):
        return Pool.model_validate({"name": "p", "workers": [{"name": "w", "price": {}, **worker}]})

    plain = load_set(write(tmp_path / "plain.jsonl", [row(0)]), COUNTS, ledger)
    can_be_asked(pool(model="openai/m"), plain)
    with pytest.raises(MissingKey):
        can_be_asked(pool(model="openai/m", key_env="FUGU_TEST_NO_SUCH_KEY"), plain)
    with pytest.raises(BadInput, match="no provider"):
        can_be_asked(pool(model="calcc"), plain)

    def none(grader):
        raise IsolationUnavailable("no sandbox")

    monkeypatch.setattr("tasks.setup.questions.isolation", none)
    can_be_asked(pool(model="openai/m"), plain)
    coded = row(1, grader="code", reference={"entry": "f", "calls": [{"args": [1], "returns": 1}]})
    monkeypatch.setattr("tasks.setup.questions.check", lambda question: None)
    with pytest.raises(IsolationUnavailable):
        can_be_asked(pool(model="openai/m"), load_set(write(tmp_path / "code.jsonl", [coded]), COUNTS, ledger))


def test_a_byte_that_is_no_text_is_named_by_its_line(tmp_path, ledger):
    path = tmp_path / "q.jsonl"
    path.write_bytes(json.dumps(row(0)).encode() + b"\n" + b'{"id": "\xff"}\n')
    with pytest.raises(BadFile, match=r"q\.jsonl:2: not UTF-8") as bad:
        load_set(str(path), COUNTS, ledger)
    assert bad.value.line == 2
