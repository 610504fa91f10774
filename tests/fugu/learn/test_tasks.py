"""A head of tasks finds the specialists, keeps to the best single worker elsewhere, and serves as it was fitted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax

from models.errors import BadInput
from models.fugu.head import NEIGHBOURS, SCORE_PER_LOGIT, HeadForm
from models.fugu.learn.tasks import TaskOptions, clusters, fit_tasks, regress, task_means
from models.fugu.router import Router

CHANCE = {"sums": [0.5, 0.8, 0.2], "words": [0.6, 0.2, 0.8], "facts": [0.5, 0.3, 0.3]}
FAR = 8 * np.eye(24)[9]
FAST = TaskOptions(penalties=(0.01, 0.1), cautions=(0.0, 1.0), quantiles=(0.0, 0.05))


def simulated(n: int, seed: int, chance: dict[str, list[float]] = CHANCE, width: int = 24):
    """Features [n, width], one noisy 0/1 label per cell, tasks, and the expected scores behind the labels."""
    draws = np.random.default_rng(seed)
    tasks = draws.choice(list(chance), n)
    centres = {task: 4 * np.eye(width)[list(CHANCE).index(task)] if task in CHANCE else FAR[:width] for task in chance}
    features = np.stack([centres[t] for t in tasks]) + draws.standard_normal((n, width))
    expected = np.array([chance[t] for t in tasks])
    return features, (draws.random(expected.shape) < expected).astype(float), tasks, expected


FEATURES, LABELS, TASKS, EXPECTED = simulated(600, 0)
FITTED = fit_tasks(FEATURES, LABELS, TASKS, FAST)


def logits(fitted, features):
    return fitted.head(torch.from_numpy(features).float()).numpy()


def test_the_head_finds_the_specialists_on_held_out_questions():
    features, _, _, expected = simulated(600, 1)
    score = expected[np.arange(600), logits(FITTED, features).argmax(axis=1)].mean()
    single = expected.mean(axis=0).max()
    assert (score - single) / (expected.max(axis=1).mean() - single) > 0.8
    assert FITTED.chosen.gain > 0.05 and len(FITTED.trials) == 4


def test_its_logits_are_the_tasks_means_by_their_probability():
    everywhere = fit_tasks(FEATURES, LABELS, TASKS, dataclasses.replace(FAST, quantiles=(0.0,)))
    head = everywhere.head
    standard = (FEATURES - head.centre.numpy()) / head.scale.numpy()
    share = softmax(standard @ head.weights.numpy().T + head.bias.numpy(), axis=1)
    np.testing.assert_allclose(logits(everywhere, FEATURES), share @ head.means.numpy() / SCORE_PER_LOGIT, atol=1e-4)
    assert len(head.anchors) == 0  # nothing is kept that nothing reads


def test_a_task_that_it_never_saw_gets_the_best_single_worker_of_those_that_are_allowed():
    options = dataclasses.replace(FAST, quantiles=(0.1,))
    fitted = fit_tasks(FEATURES, LABELS, TASKS, options)
    strange, _, _, _ = simulated(200, 2, {"riddles": [0.1, 0.9, 0.1]})
    overall = fitted.head.overall.numpy() / SCORE_PER_LOGIT
    novel = np.isclose(logits(fitted, strange), overall).all(axis=1)
    others, _, _, _ = simulated(600, 1)  # of the tasks that were taught
    assert novel.mean() > 2 * np.isclose(logits(fitted, others), overall).all(axis=1).mean() > 0
    assert np.argsort(overall).tolist() == np.argsort(LABELS.mean(axis=0)).tolist()  # so under every mask, too


def test_familiarity_is_the_mean_cosine_of_the_nearest_by_a_plain_reference():
    options = dataclasses.replace(FAST, quantiles=(0.1,))
    head = fit_tasks(FEATURES, LABELS, TASKS, options).head
    features, _, _, _ = simulated(50, 3)
    standard = (features - head.centre.numpy()) / head.scale.numpy()
    cosines = standard @ head.anchors.numpy().T / np.linalg.norm(standard, axis=1, keepdims=True)
    near = np.sort(cosines, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    novel = near < head.least.numpy()
    found = logits(fit_tasks(FEATURES, LABELS, TASKS, options), features)
    np.testing.assert_allclose(
        found[novel], np.broadcast_to(head.overall.numpy() / SCORE_PER_LOGIT, found[novel].shape)
    )
    assert not np.isclose(found[~novel], head.overall.numpy() / SCORE_PER_LOGIT).all(axis=1).any()


def test_caution_leaves_what_chance_explains_at_the_overall_mean():
    draws = np.random.default_rng(4)
    task = np.arange(900) % 3
    level = draws.random((900, 1)) < 0.5
    same = np.where(level, draws.random((900, 4)) < 0.7, draws.random((900, 4)) < 0.3).astype(float)
    better = same.copy()
    better[task == 0, 1] = np.maximum(better[task == 0, 1], draws.random(300) < 0.6)
    for labels, moved in ((same, False), (better, True)):
        means, overall = task_means(labels, task, 3, caution=3.0)
        shift = means - means.mean(axis=1, keepdims=True) - overall + overall.mean()
        assert (shift[0, 1] > 0.03) == moved and (moved or np.abs(shift).max() < 0.02)
    plain, _ = task_means(better, task, 3)
    np.testing.assert_allclose(plain, [better[task == each].mean(axis=0) for each in range(3)], atol=1e-9)


def test_holes_are_no_scores():
    holes = LABELS.copy()
    holes[np.arange(600), np.random.default_rng(5).integers(3, size=600)] = np.nan
    fitted = fit_tasks(FEATURES, holes, TASKS, FAST)
    assert all(np.isfinite([point.gain, point.unseen, point.unseen_low]).all() for point in fitted.trials)
    features, _, _, expected = simulated(600, 1)
    score = expected[np.arange(600), logits(fitted, features).argmax(axis=1)].mean()
    assert score > expected.mean(axis=0).max() + 0.1


@pytest.mark.parametrize("tasks", [["one"] * 600, TASKS.tolist()])
def test_without_names_of_tasks_groups_of_states_take_their_place(tasks):
    fitted = fit_tasks(FEATURES, LABELS, tasks, FAST)
    features, _, _, expected = simulated(600, 1)
    score = expected[np.arange(600), logits(fitted, features).argmax(axis=1)].mean()
    assert score > expected.mean(axis=0).max() + 0.1
    assert fitted.form.tasks == (3 if len(set(tasks)) == 3 else 12)


def test_few_questions_are_one_group():
    assert clusters(FEATURES[:60], 12, 0).max() == 0


@pytest.mark.parametrize("count", [1, 2, 5, 11])
def test_too_few_to_choose_by_give_the_best_single_worker(count):
    fitted = fit_tasks(FEATURES[:count], LABELS[:count], TASKS[:count])
    single = int(LABELS[:count].mean(axis=0).argmax())
    assert (logits(fitted, FEATURES).argmax(axis=1) == single).all() and len(fitted.trials) == 1


def test_labels_of_chance_gain_nothing_and_lose_nothing():
    shuffled = LABELS[np.random.default_rng(6).permutation(600)]
    fitted = fit_tasks(FEATURES, shuffled, TASKS, FAST)
    features, _, _, _ = simulated(600, 1)
    single = int(shuffled.mean(axis=0).argmax())
    assert (logits(fitted, features).argmax(axis=1) == single).mean() > 0.5
    assert abs(fitted.chosen.gain) < 0.03


def test_questions_of_one_text_are_never_parted_between_folds():
    twice = np.concatenate([FEATURES, FEATURES])
    groups = np.concatenate([np.arange(600)] * 2)
    noise = np.random.default_rng(7).random((1200, 3))
    alone = fit_tasks(twice, noise, np.array([f"t{i % 20}" for i in range(1200)]), FAST, groups)
    assert alone.chosen.gain < 0.05  # a regression that saw a question's twin would find its own noise again


def test_regression_fits_and_its_bias_is_free():
    task = np.where(FEATURES[:, 0] > 2, 1, 0)
    standard = (FEATURES - FEATURES.mean(axis=0)) / FEATURES.std(axis=0)
    weights, bias = regress(standard, task, 2, 100.0, 60)
    share = softmax(standard @ weights.T + bias, axis=1).mean(axis=0)
    np.testing.assert_allclose(share, np.bincount(task) / 600, atol=0.01)
    strong, free = regress(standard, task, 2, 1e-3, 60)
    assert ((standard @ strong.T + free).argmax(axis=1) == task).mean() > 0.97


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES[:, 0]}, "same questions"),
        ({"labels": LABELS[:-1]}, "same questions"),
        ({"features": np.full_like(FEATURES, np.nan)}, "finite"),
        ({"labels": np.full_like(LABELS, np.inf)}, "finite"),
        ({"labels": np.where(np.arange(3) == 1, np.nan, LABELS)}, "has no label"),
        ({"labels": np.where(np.arange(600)[:, None] == 5, np.nan, LABELS)}, "has no label"),
        ({"features": FEATURES[:0], "labels": LABELS[:0], "tasks": TASKS[:0]}, "no question"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, message):
    given = {"features": FEATURES, "labels": LABELS, "tasks": TASKS} | change
    with pytest.raises(BadInput, match=message):
        fit_tasks(**given)


@pytest.mark.parametrize("roles", [True, False])
def test_a_router_serves_it_as_it_was_fitted(backbones, texts, roles):
    backbone = backbones("tied")
    states = backbone.features(texts)
    draws = np.random.default_rng(8)
    rows = states[draws.integers(len(texts), size=60)] + 0.1 * draws.standard_normal((60, backbone.width))
    fitted = fit_tasks(rows, draws.random((60, 3)), draws.choice(["a", "b"], 60), dataclasses.replace(FAST, folds=2))
    head = fitted.head
    if roles:
        own = torch.from_numpy(draws.standard_normal((3, backbone.width))).float()
        head = dataclasses.replace(head, roles=own)
    router = Router(backbone, head.numbers(), ("ant", "bee", "cat"), roles, "head", form=fitted.form)
    found = router.logits(texts)
    np.testing.assert_allclose(found, head(torch.from_numpy(states)).numpy(), atol=1e-4)
    assert found.shape == (len(texts), 6 if roles else 3)
    again = Router(backbone, router.vector, router.workers, roles, "head", form=HeadForm.of(router.meta["head"]))
    np.testing.assert_array_equal(again.logits(texts), found)
    np.testing.assert_allclose(router.resumed_logits(texts), found, atol=1e-4)


def test_a_head_of_another_size_is_refused(backbones):
    with pytest.raises(BadInput, match="of the head"):
        Router(backbones("tied"), np.zeros(10), ("ant",), False, "head", form=HeadForm("tasks", 2, 3))
