from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import update

from models.errors import NotFound
from models.ledger.epochs import next_epoch, open_epoch, put_questions, put_workers
from models.ledger.labels import LABEL_COLUMNS, Attempt, Cell, coverage, labels, missing, put_attempts, scores_by_repeat
from models.ledger.tables import attempts, epochs

DAY, WEEK = timedelta(days=1), timedelta(days=7)
WORKERS = {"a": "1", "b": "1"}
QUESTIONS = {"q0": "d", "q1": "d"}


@pytest.fixture
def questions(ledger):
    put(ledger, *QUESTIONS)


def put(ledger, *names, digest="d", source="file"):
    rows = [{"id": name, "digest": digest, "task": "sum", "split": "train", "tags": [], "body": {}} for name in names]
    put_questions(ledger, source, rows)


def attempt(epoch, question="q0", worker="a", repeat=0, score=1.0, revision="1", version="exact/1", **values):
    return Attempt(epoch, question, worker, revision, repeat, "exact", version, score, **values)


def every(epoch, score=1.0, repeats=1):
    cells = [(q, w, r) for q in QUESTIONS for w in WORKERS for r in range(repeats)]
    return [attempt(epoch, q, w, r, score) for q, w, r in cells]


def wanted(ledger, epoch, **options):
    found = {"questions": QUESTIONS, "workers": WORKERS, "repeats": 1} | options
    return missing(ledger, epoch=epoch, **found)


def age(ledger, days, *where):
    """Let attempts (and epochs) have been made that many days ago."""
    with ledger.transaction() as connection:
        then = ledger.now(connection) - timedelta(days=days)
        connection.execute(update(attempts).where(*where).values(created_at=then))
        if not where:
            connection.execute(update(epochs).values(opened_at=then))


def test_an_epoch_stays_open_for_whoever_starts_again(ledger):
    assert open_epoch(ledger, "p", "set") == 1
    assert open_epoch(ledger, "p", "set") == 1
    assert next_epoch(ledger, "p", "set", timedelta(0)) == 1


def test_epochs_of_two_series_never_share_a_scope(ledger):
    assert len({open_epoch(ledger, pool, name) for pool in "pq" for name in ("s", "t")}) == 4


def test_the_next_epoch_opens_only_where_a_label_is_too_old(ledger, questions):
    first = open_epoch(ledger, "p", "set")
    put_attempts(ledger, every(first))
    assert next_epoch(ledger, "p", "set", DAY) == first
    age(ledger, 2)
    assert next_epoch(ledger, "p", "set", WEEK) == first
    assert next_epoch(ledger, "p", "set", DAY) == first + 1


def test_a_refresh_that_was_killed_goes_on_in_its_own_epoch(ledger, questions):
    first = open_epoch(ledger, "p", "set")
    put_attempts(ledger, every(first))
    age(ledger, 2)
    second = next_epoch(ledger, "p", "set", DAY)
    put_attempts(ledger, [attempt(second)])
    assert next_epoch(ledger, "p", "set", DAY) == second
    assert {(cell.question_id, cell.worker) for cell in wanted(ledger, second, max_age=DAY)} == {
        ("q0", "b"),
        ("q1", "a"),
        ("q1", "b"),
    }


def test_old_labels_of_a_worker_that_left_open_no_epoch(ledger, questions):
    first = open_epoch(ledger, "p", "set")
    put_attempts(ledger, [attempt(first, worker="gone")])
    age(ledger, 2)
    assert next_epoch(ledger, "p", "set", DAY, workers=WORKERS) == first
    assert next_epoch(ledger, "p", "set", DAY) == first + 1


def test_everything_is_missing_at_first_and_nothing_at_last(ledger, questions):
    epoch = open_epoch(ledger, "p", "set")
    cells = wanted(ledger, epoch, repeats=2)
    assert len(cells) == 8 and Cell("q1", "b", "1", 1, epoch) in cells
    put_attempts(ledger, [attempt(c.epoch, c.question_id, c.worker, c.repeat) for c in cells])
    assert wanted(ledger, epoch, repeats=2) == []


def test_a_label_of_another_pool_does_not_count(ledger, questions):
    put_attempts(ledger, every(open_epoch(ledger, "other", "set")))
    assert len(wanted(ledger, open_epoch(ledger, "p", "set"))) == 4


def test_a_label_made_for_a_smaller_question_set_counts(ledger, questions):
    put_attempts(ledger, every(open_epoch(ledger, "p", "small")))
    put(ledger, "q2")
    epoch = open_epoch(ledger, "p", "large")
    assert [c.question_id for c in wanted(ledger, epoch, questions={**QUESTIONS, "q2": "d"})] == ["q2", "q2"]


def test_a_changed_question_or_revision_is_measured_again(ledger, questions):
    epoch = open_epoch(ledger, "p", "set")
    put_attempts(ledger, every(epoch))
    assert [c.revision for c in wanted(ledger, epoch, workers={"a": "2", "b": "1"})] == ["2", "2"]
    put(ledger, "q1", digest="changed")
    assert [c.question_id for c in wanted(ledger, epoch)] == ["q1", "q1"]
    assert set(labels(ledger)["question_id"]) == {"q0"}


def test_a_new_grader_version_reads_the_replies_that_are_paid(ledger, questions):
    first = open_epoch(ledger, "p", "set")
    put_attempts(ledger, every(first, score=0.0))
    later = open_epoch(ledger, "p", "another")
    cells = wanted(ledger, later, grader_versions={"exact": "exact/2"})
    assert len(cells) == 4 and {cell.epoch for cell in cells} == {first}
    assert wanted(ledger, later, grader_versions={"exact": "exact/1", "math": "math/7"}) == []
    put_attempts(ledger, [attempt(first, version="exact/2", score=1.0)])
    table = labels(ledger, workers=["a"], questions={"q0": "d"})
    assert table["score"].tolist() == [1.0] and table["n"].tolist() == [1]


def test_two_sources_with_the_same_ids_both_keep_their_labels(ledger):
    for source, pool, score in (("A", "p", 1.0), ("B", "q", 0.0)):
        put(ledger, *QUESTIONS, digest=source, source=source)
        mine = [attempt(open_epoch(ledger, pool, source), q, score=score, question_digest=source) for q in QUESTIONS]
        put_attempts(ledger, mine)
    assert labels(ledger, pool="p")["score"].tolist() == [1.0, 1.0]
    assert labels(ledger, pool="q")["score"].tolist() == [0.0, 0.0]
    assert len(labels(ledger)) == 4
    with pytest.raises(NotFound, match="only one of its id"):
        put_attempts(ledger, [attempt(1, "q0")])


def test_on_one_pool_a_question_of_the_same_id_in_another_file_is_another_question(ledger):
    put(ledger, "q0", digest="A", source="A")
    put(ledger, "q0", digest="B", source="B")
    first, second = open_epoch(ledger, "p", "A"), open_epoch(ledger, "p", "B")
    put_attempts(ledger, [attempt(first, score=1.0, question_digest="A")])
    asked = {"workers": {"a": "1"}}
    assert wanted(ledger, second, questions={"q0": "A"}, **asked) == []
    assert wanted(ledger, second, questions={"q0": "B"}, **asked) == [Cell("q0", "a", "1", 0, second)]
    assert labels(ledger, questions={"q0": "B"}).empty
    assert coverage(ledger, epoch=second, questions={"q0": "B"}, repeats=1, **asked)["missing"].tolist() == [1]


def test_a_question_that_two_files_have_has_one_label(ledger, questions):
    put(ledger, *QUESTIONS, source="another")
    put_attempts(ledger, every(open_epoch(ledger, "p", "set")))
    assert len(labels(ledger)) == 4 and set(labels(ledger)["n"]) == {1}


def test_an_attempt_is_kept_once(ledger, questions):
    epoch = open_epoch(ledger, "p", "set")
    put_attempts(ledger, [attempt(epoch, score=0.5), attempt(epoch, score=1.0)])
    put_attempts(ledger, [attempt(epoch, score=0.0)])
    assert labels(ledger)["score"].tolist() == [0.5]


def test_an_attempt_on_an_unknown_question_writes_nothing(ledger, questions):
    epoch = open_epoch(ledger, "p", "set")
    with pytest.raises(NotFound, match="'lost'"):
        put_attempts(ledger, [attempt(epoch), attempt(epoch, "lost")])
    assert labels(ledger).empty


def test_a_label_is_the_mean_over_repeats(ledger, questions):
    epoch = open_epoch(ledger, "p", "set")
    scores = (1.0, 0.0, 0.5)
    put_attempts(ledger, [attempt(epoch, repeat=r, score=s, cost_usd=0.25 * r) for r, s in enumerate(scores)])
    (row,) = labels(ledger).to_dict("records")
    assert list(row) == LABEL_COLUMNS
    assert (row["task"], row["split"], row["worker"], row["n"], row["epoch"]) == ("sum", "train", "a", 3, epoch)
    assert row["score"] == pytest.approx(0.5) and row["cost_usd"] == pytest.approx(0.25)
    assert row["stderr"] == pytest.approx(np.std(scores, ddof=1) / np.sqrt(3))
    assert 0 <= row["age_s"] < 60


def test_the_repeats_of_a_label_are_read_one_by_one(ledger, questions):
    old, new = 1, 2
    open_epoch(ledger, "p", "set"), open_epoch(ledger, "p", "other")
    put_attempts(ledger, [attempt(old, repeat=repeat, score=0.9) for repeat in range(3)])
    put_attempts(ledger, [attempt(new, repeat=repeat, score=score) for repeat, score in ((1, 0.5), (0, 1.0))])
    found = scores_by_repeat(ledger, pool="p", questions=QUESTIONS, workers=WORKERS)
    assert found.values.tolist() == [["q0", "a", 0, 1.0], ["q0", "a", 1, 0.5]]
    assert found["score"].mean() == labels(ledger, pool="p")["score"].item()


def test_a_label_is_read_from_the_newest_epoch_that_has_its_cell(ledger, questions):
    first = open_epoch(ledger, "p", "set")
    put_attempts(ledger, every(first, 0.0, repeats=2))
    age(ledger, 2)
    second = next_epoch(ledger, "p", "set", DAY)
    put_attempts(ledger, [attempt(second, "q0", "b", score=1.0)])
    table = labels(ledger, pool="p").set_index(["question_id", "worker"])
    assert table.loc[("q0", "b"), ["score", "epoch", "n"]].tolist() == [1.0, second, 1]
    assert table.loc[("q0", "a"), ["score", "epoch", "n"]].tolist() == [0.0, first, 2]
    assert table.loc[("q0", "a"), "age_s"] == pytest.approx(2 * 86_400, abs=60)


def test_labels_can_be_narrowed(ledger, questions):
    put_workers(ledger, [{"name": "a", "revision": "1", "recorded": True}])
    put_attempts(ledger, every(open_epoch(ledger, "p", "set")))
    assert len(labels(ledger)) == 4
    assert len(labels(ledger, workers=["a"])) == len(labels(ledger, questions={"q1": "d"})) == 2
    assert labels(ledger, pool="q").empty and labels(ledger, workers={"a": "2"}).empty
    assert list(labels(ledger, pool="q").columns) == LABEL_COLUMNS


def test_coverage_tells_measured_stale_and_missing_apart(ledger, questions):
    epoch = open_epoch(ledger, "p", "set")
    put_attempts(ledger, [attempt(epoch, "q0", "a", score=1.0), attempt(epoch, "q1", "a", score=0.0)])
    age(ledger, 2, attempts.c.question_id == "q1")
    frame = coverage(ledger, epoch=epoch, questions=QUESTIONS, workers=WORKERS, repeats=2, max_age=DAY)
    a, b = frame.to_dict("records")
    assert a == {"worker": "a", "wanted": 4, "measured": 1, "stale": 1, "missing": 2, "score": 0.5}
    assert (b["measured"], b["missing"]) == (0, 4) and np.isnan(b["score"])
