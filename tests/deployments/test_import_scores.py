"""`fugu import-scores`: recorded scores become labels, again they change nothing, and a bad line is one line."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from models.ledger.tables import attempts, epochs, questions
from tasks.setup.settings import open_ledger, pool_path


@pytest.fixture(autouse=True)
def home(cli_home: Path) -> Path:
    return cli_home


def one_line(err: str) -> str:
    assert err.startswith("fugu: ") and err.count("\n") == 1, err
    return err


def test_recorded_scores_become_labels_of_a_pool_and_again_change_nothing(run, home: Path, tmp_path: Path) -> None:
    row = '{"id": "q%d", "task": "t", "metric": "em", "question": "Q%d?", "scores": {"a": 1.0, "b": 0.25}}\n'
    file = tmp_path / "scores.jsonl"
    file.write_text("".join(row % (i, i) for i in range(3)))
    for _ in range(2):
        status, out, _ = run("import-scores", str(file))
        assert status == 0
        assert "3 questions with the scores of 2 workers: pool scores" in out
    from models.ledger.labels import labels
    from models.workers.pool import Pool

    ledger = open_ledger()
    frame = labels(ledger, pool="scores")
    ledger.close()
    assert frame.groupby("worker")["score"].mean().to_dict() == {"a": 1.0, "b": 0.25}
    assert frame["n"].eq(1).all()
    assert all(worker.is_recorded for worker in Pool.load(pool_path("scores")).workers)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"a": 1.5}}', "scores.a"),
        ('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}', "is already on line 1"),
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"a": NaN}}', "NaN is not a number"),
        ('{"id": "q1", "task": "t", "question": "Q?"}', "scores: Field required"),
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"": 1}}', "at least 1 character"),
        ('{"id": "q1", "task": "%s", "question": "Q?", "scores": {"a": 1}}' % ("t" * 201), "at most 200 characters"),
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"a,b": 1}}', "without a comma"),
        ('{"id": "q1", "task": "t", "question": "Q?", "scores": {"a": 1}, "hue": 1}', "hue: Extra inputs"),
    ],
)
def test_a_bad_line_of_scores_is_named_and_nothing_is_written(
    run, home: Path, tmp_path: Path, line: str, expected: str
) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1, "b": 0}}\n' + line)
    status, _, err = run("import-scores", str(file))
    assert status == 2
    assert "scores.jsonl:2: " in one_line(err) and expected in err
    assert not (home / "pools").exists() and not (home / "questions").exists()


@pytest.mark.parametrize("name", ["house", "../outside", "", "n" * 300])
def test_recorded_scores_take_no_name_that_is_taken_or_no_name(run, tmp_path: Path, name: str) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}')
    status, _, err = run("import-scores", str(file), "--name", name)
    assert status == 2
    assert repr(name) in one_line(err)


def test_recorded_scores_overwrite_no_pool_of_ones_own(run, home: Path, tmp_path: Path) -> None:
    own = "workers:\n- {name: dear, model: openai/dear, price: {output_per_million: 30}}\n"
    (home / "pools").mkdir(parents=True)
    (home / "pools" / "mine.yaml").write_text(own)
    file = tmp_path / "scores.jsonl"
    file.write_text('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}')
    status, _, err = run("import-scores", str(file), "--name", "mine")
    assert status == 2 and "'mine'" in one_line(err)
    assert (home / "pools" / "mine.yaml").read_text() == own


IDS = '{"id": "q%d", "task": "t", "question": "%s %d?", "scores": {"a": %s, "b": 0.5}}\n'


def test_two_files_with_the_same_ids_both_keep_their_labels(run, home: Path, tmp_path: Path) -> None:
    from models.ledger.labels import labels

    for name, score in (("one", "1.0"), ("two", "0.0")):
        (tmp_path / f"{name}.jsonl").write_text("".join(IDS % (i, name, i, score) for i in range(3)))
        assert run("import-scores", str(tmp_path / f"{name}.jsonl"))[0] == 0
    ledger = open_ledger()
    means = {name: labels(ledger, pool=name).groupby("worker")["score"].mean().to_dict() for name in ("one", "two")}
    ledger.close()
    assert means == {"one": {"a": 1.0, "b": 0.5}, "two": {"a": 0.0, "b": 0.5}}


def fails(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["tasks.setup.scores.save_questions", "tasks.setup.scores.put_attempts", "os.fsync"])
def test_an_import_that_fails_leaves_nothing_behind(run, home: Path, tmp_path: Path, monkeypatch, place: str) -> None:
    run("status")
    before = sorted(path.relative_to(home) for path in home.rglob("*") if path.name[:9] != "ledger.db")
    (tmp_path / "scores.jsonl").write_text("".join(IDS % (i, "x", i, "1.0") for i in range(3)))
    with monkeypatch.context() as patch:
        patch.setattr(place, fails)
        status, _, err = run("import-scores", str(tmp_path / "scores.jsonl"))
    assert status == 2 and "No space left" in one_line(err)
    assert sorted(path.relative_to(home) for path in home.rglob("*") if path.name[:9] != "ledger.db") == before
    ledger = open_ledger()
    with ledger.reading() as connection:
        assert not any(connection.execute(table.select()).all() for table in (questions, attempts, epochs))
    ledger.close()


def test_holes_repeats_and_costs_become_labels_and_are_reported(run, tmp_path: Path) -> None:
    from models.ledger.labels import labels

    rows = [
        {"id": "q0", "task": "t", "question": "Q0?", "scores": {"a": [1, 0], "b": 1}, "costs": {"a": [0.1, 0.3]}},
        {"id": "q1", "task": "t", "question": "Q1?", "scores": {"b": 0}},
        {"id": "q2", "task": "t", "question": "Q2?", "scores": {"a": 1, "b": 0}, "split": "train"},
        {"id": "q3", "task": "t", "question": "Q2?", "scores": {"a": 1, "b": 0}, "split": "test"},
    ]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, out, _ = run("import-scores", str(tmp_path / "scores.jsonl"))
    assert status == 0
    assert "1 of 8 scores are missing: 3 of 4 questions were seen by every worker" in out
    assert "up to 2 repeats" in out and "6 of 8 replies have no cost" in out
    assert "1 texts are in several splits" in out
    ledger = open_ledger()
    frame = labels(ledger, pool="scores").set_index(["question_id", "worker"])
    ledger.close()
    assert frame.loc[("q0", "a")][["score", "n", "stderr", "cost_usd"]].to_list() == [0.5, 2, 0.5, 0.2]
    assert ("q1", "a") not in frame.index and len(frame) == 7


def test_texts_that_are_there_twice_are_dealt_to_one_split(run, home: Path, tmp_path: Path) -> None:
    row = '{"id": "q%d", "task": "t", "question": "Q%d?", "scores": {"a": 1, "b": 0}}\n'
    (tmp_path / "scores.jsonl").write_text("".join(row % (i, i % 40) for i in range(120)))
    status, out, _ = run("import-scores", str(tmp_path / "scores.jsonl"))
    assert status == 0 and "several splits" not in out
    splits: dict[str, set[str]] = {}
    for line in (home / "questions" / "scores.jsonl").read_text().splitlines():
        question = json.loads(line)
        splits.setdefault(question["messages"][0]["content"], set()).add(question["split"])
    assert len(splits) == 40 and all(len(each) == 1 for each in splits.values())


def test_a_folder_of_another_form_is_imported_by_its_fields_or_its_name(run, tmp_path: Path) -> None:
    folder = tmp_path / "split2"
    folder.mkdir()
    for task in ("gsm8k-train", "gsm8k-test"):
        rows = [{"question": f"{task} {n}?", "scores": {"x/a": 0.5, "x/b": 1.0}} for n in range(3)]
        (folder / f"{task}.json").write_text(json.dumps(rows))
    for options in ((), ("--format", "routerdc")):
        status, out, _ = run("import-scores", str(folder), *options)
        assert status == 0 and "6 questions with the scores of 2 workers: pool split2" in out
    status, _, err = run("import-scores", str(folder), "--format", "routerbenk")
    assert status == 2 and "routerbench" in one_line(err)


def test_scores_of_one_worker_are_refused(run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text('{"id": "q0", "task": "t", "question": "Q?", "scores": {"a": 1}}')
    status, _, err = run("import-scores", str(tmp_path / "scores.jsonl"))
    assert status == 2 and "scores.jsonl:1: " in one_line(err) and "one worker only" in err
    assert not (home / "pools").exists()
