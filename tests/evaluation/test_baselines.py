"""On a simulated pool with specialists each baseline finds what it can know, and nothing of the test scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.errors import BadInput
from models.evaluation.baselines import (
    BEST_SINGLE,
    CHEAPEST,
    KNN,
    ORACLE,
    RANDOM,
    TASK_PREDICTED,
    TASK_TRUE,
    Part,
    baselines,
    best_single,
    cheapest,
    knn,
    oracle,
    predict_tasks,
    task_table,
)
from models.evaluation.metrics import entry

WORKERS = ["generalist", "algebra", "french"]
SKILL = {"sums": [0.6, 0.95, 0.1], "words": [0.6, 0.1, 0.95]}


def simulated(n: int, seed: int, width: int = 12) -> Part:
    """Two tasks in two clusters, a specialist for each and a generalist: the best choice is known."""
    draws = np.random.default_rng(seed)
    tasks = draws.choice(list(SKILL), n)
    centres = {task: np.eye(width)[i] * 4 for i, task in enumerate(SKILL)}
    features = np.stack([centres[t] for t in tasks]) + draws.standard_normal((n, width))
    scores = (draws.random((n, 3)) < np.array([SKILL[t] for t in tasks])).astype(float)
    return Part(scores, features, tasks, np.tile([0.001, 0.01, 0.02], (n, 1)))


TRAIN, TEST = simulated(400, 0), simulated(300, 1)
RIGHT = np.array([1 if task == "sums" else 2 for task in TEST.tasks])


def test_specialists_are_found_by_task_table_and_neighbours():
    assert (task_table(TRAIN, TEST.tasks) == RIGHT).all()
    assert (task_table(TRAIN, predict_tasks(TRAIN, TEST.features)) == RIGHT).mean() > 0.97
    assert (knn(TRAIN, TEST.features) == RIGHT).mean() > 0.9


def test_the_table_of_baselines_is_complete_and_ordered_as_the_pool_makes_it():
    rows = {e.name: e.scores.mean() for e in baselines(TRAIN, TEST, WORKERS)}
    assert list(rows) == [*WORKERS, BEST_SINGLE, RANDOM, CHEAPEST, TASK_PREDICTED, TASK_TRUE, KNN, ORACLE]
    assert rows[RANDOM] == pytest.approx(np.mean([rows[w] for w in WORKERS]))
    assert rows[RANDOM] < rows[BEST_SINGLE] < rows[KNN] <= rows[ORACLE] and rows[TASK_PREDICTED] <= rows[ORACLE]
    assert rows[CHEAPEST] == rows["generalist"]


def test_an_unpriced_pool_has_no_cheapest_row():
    free = dataclasses.replace(TRAIN, costs=np.zeros_like(TRAIN.costs))
    assert CHEAPEST not in {e.name for e in baselines(free, TEST, WORKERS)}
    assert cheapest(free) == best_single(free)


def test_the_single_worker_is_chosen_on_train_even_where_test_disagrees():
    flipped = dataclasses.replace(TEST, scores=1 - TEST.scores)
    row = {e.name: e for e in baselines(TRAIN, flipped, WORKERS)}[BEST_SINGLE]
    assert np.array_equal(row.scores, flipped.scores[:, best_single(TRAIN)])


def test_no_policy_but_the_oracle_reads_the_test_scores():
    flipped = dataclasses.replace(TEST, scores=1 - TEST.scores)
    pairs = zip(baselines(TRAIN, TEST, WORKERS), baselines(TRAIN, flipped, WORKERS), strict=True)
    same = {a.name: np.array_equal(a.shares, b.shares) for a, b in pairs}
    assert not same.pop(ORACLE) and all(same.values())


def test_the_oracle_takes_the_cheapest_of_equals():
    scores = np.ones((4, 3))
    part = Part(scores, np.zeros((4, 1)), np.array(["t"] * 4), np.tile([0.3, 0.1, 0.2], (4, 1)))
    assert (oracle(part) == 1).all() and entry("o", oracle(part), scores).scores.mean() == 1


def test_a_task_never_seen_goes_to_the_best_single_worker():
    assert (task_table(TRAIN, np.array(["poetry"])) == best_single(TRAIN)).all()


def test_one_task_needs_no_classifier():
    single = dataclasses.replace(TRAIN, tasks=np.full(len(TRAIN.tasks), "only"))
    assert set(predict_tasks(single, TEST.features)) == {"only"}


def test_neighbours_are_chosen_for_what_helps_on_train():
    """One neighbour copies the noise of one question; where labels are noise around a constant, more is better."""
    draws = np.random.default_rng(4)
    scores = (draws.random((300, 2)) < [0.65, 0.35]).astype(float)
    part = Part(scores, draws.standard_normal((300, 5)), np.full(300, "t"), np.zeros((300, 2)))
    assert (knn(part, draws.standard_normal((200, 5))) == 0).mean() > 0.95


def test_neighbours_do_not_depend_on_the_scale_or_origin_of_features():
    shifted = dataclasses.replace(TRAIN, features=TRAIN.features * 50 + 1000)
    agree = knn(TRAIN, TEST.features) == knn(shifted, TEST.features * 50 + 1000)
    assert agree.mean() > 0.99


def test_a_part_of_few_questions_still_gives_every_row():
    few = TRAIN.rows(np.arange(7))
    assert len(baselines(few, TEST, WORKERS)) == len(WORKERS) + 7


@pytest.mark.parametrize(
    "broken",
    [
        {"scores": np.full((400, 3), np.nan)},
        {"features": TRAIN.features[:-1]},
        {"costs": TRAIN.costs[:, :2]},
        {"tasks": TRAIN.tasks[:-1]},
    ],
)
def test_arrays_that_do_not_fit_or_have_holes_are_refused(broken):
    with pytest.raises(BadInput):
        dataclasses.replace(TRAIN, **broken)
