"""A head of tasks finds the specialists, keeps to the best single worker elsewhere, and serves as it was fitted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax

from models.errors import BadInput
from models.fugu.head import NEIGHBOURS, SCORE_PER_LOGIT, HeadForm
from models.fugu.learn.classes import Classes, clusters, task_means
from models.fugu.learn.tasks import NONE, TaskOptions, fit_tasks
from models.fugu.router import Router

CHANCE = {"sums": [0.5, 0.8, 0.2], "words": [0.6, 0.2, 0.8], "facts": [0.5, 0.3, 0.3]}
FAR = 8 * np.eye(24)[9]
FAST = TaskOptions(
    penalties=(0.1, 1.0), temperatures=(1.0, 4.0), slopes=(NONE,), cautions=(0.0, 1.0), quantiles=(0.0, 0.05)
)


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


def test_familiarity_is_the_mean_cosine_of_the_nearest_in_a_damped_space_by_a_plain_reference():
    fitted = fit_tasks(FEATURES, LABELS, TASKS, dataclasses.replace(FAST, quantiles=(0.1,), damped=2))
    head = fitted.head
    parts = {name: getattr(head, name).numpy().astype(float) for name in head.__dataclass_fields__}
    features, _, _, _ = simulated(50, 3)
    taught, asked = ((each - parts["centre"]) / parts["scale"] for each in (FEATURES, features))
    within = taught - np.stack([taught[t == TASKS].mean(axis=0) for t in TASKS])
    variances, directions = np.linalg.eigh(within.T @ within / 600)
    scales = np.ones(24)
    scales[-2:] = 1 / np.sqrt(variances[-2:])
    assert (variances[-2:] > 1).all() and head.damped.shape == (2, 24)
    taught, asked = (each @ directions * scales for each in (taught, asked))
    cosines = asked @ taught.T / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(taught, axis=1)
    near = np.sort(cosines, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    standard = (features - parts["centre"]) / parts["scale"]
    share = softmax(standard @ parts["weights"].T + parts["bias"], axis=1)
    novel = near < share @ parts["usual"] + parts["least"] * (share @ parts["spread"])
    overall = parts["overall"] / SCORE_PER_LOGIT
    np.testing.assert_array_equal(np.isclose(logits(fitted, features), overall).all(axis=1), novel)
    assert 0 < novel.sum() < 50


def test_the_familiarity_of_a_task_is_that_of_its_own_questions():
    """A task whose questions are unlike each other is known as well as one whose questions are all alike."""
    draws = np.random.default_rng(9)
    loose = TASKS == "facts"
    features = np.where(loose[:, None], FEATURES + 2 * draws.standard_normal(FEATURES.shape), FEATURES)
    head = fit_tasks(features, LABELS, TASKS, dataclasses.replace(FAST, quantiles=(0.1,))).head
    names = sorted(CHANCE)
    assert head.usual[names.index("facts")] < head.usual[names.index("sums")] - 0.05
    found = np.isclose(head(torch.from_numpy(features).float()).numpy(), head.overall.numpy() / SCORE_PER_LOGIT)
    assert found.all(axis=1)[loose].mean() < 0.3


def test_slopes_say_what_a_task_does_not():
    """Within each task one worker is better where one direction is large, and another where it is small."""
    draws = np.random.default_rng(10)
    features, _, tasks, expected = simulated(1200, 11)
    expected = expected + 0.3 * np.tanh(2 * features[:, [20]]) * [1, -1, 0]
    labels = (draws.random(expected.shape) < expected).astype(float)
    options = dataclasses.replace(FAST, slopes=(NONE, 1.0))
    sloped = fit_tasks(features[:800], labels[:800], tasks[:800], options)
    flat = fit_tasks(features[:800], labels[:800], tasks[:800], FAST)
    assert sloped.chosen.slope == 1.0 and sloped.form.slopes and not flat.form.slopes
    rows, score = np.arange(400), expected[800:]
    gained, before = (score[rows, logits(each, features[800:]).argmax(axis=1)].mean() for each in (sloped, flat))
    assert gained > before + 0.03


def test_a_task_that_would_lose_much_keeps_the_router_cautious():
    """Two tasks look alike, and what is best for the one is bad for the other."""
    chance = {"sums": [0.8, 0.95, 0.1], "words": [0.8, 0.1, 0.95], "facts": [0.8, 0.2, 0.2]}
    features, labels, tasks, _ = simulated(800, 12, chance)
    features[:, :2] = features[:, :2] / 3 + 2 * (tasks != "facts")[:, None]
    options = dataclasses.replace(FAST, quantiles=(0.0, 0.9), tolerated=1.0)
    chosen = fit_tasks(features, labels, tasks, options).chosen
    free = fit_tasks(features, labels, tasks, dataclasses.replace(options, tolerated_of_one=1.0)).chosen
    assert free.worst < chosen.worst and free.gain > chosen.gain


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


def test_the_probability_of_a_task_is_that_of_gaussians_with_one_covariance():
    task = np.unique(TASKS, return_inverse=True)[1]
    standard = (FEATURES - FEATURES.mean(axis=0)) / FEATURES.std(axis=0)
    classes = Classes(standard, LABELS, task, 3)
    weights, bias = classes.regression(0.5, 2.0)
    centres = np.stack([standard[task == each].mean(axis=0) for each in range(3)])
    within = standard - centres[task]
    inverse = np.linalg.inv(within.T @ within / 600 + 0.5 * np.eye(24))
    away = standard[:, None] - centres[None]
    expected = np.log(classes.share) - np.einsum("qtd,de,qte->qt", away, inverse, away) / 2
    np.testing.assert_allclose(softmax(standard @ weights.T + bias, axis=1), softmax(expected / 2, axis=1), atol=1e-9)
    assert ((standard @ weights.T + bias).argmax(axis=1) == task).mean() > 0.97


def test_slopes_are_ridge_regression_within_the_tasks_that_taught():
    task = np.unique(TASKS, return_inverse=True)[1]
    classes = Classes(FEATURES, LABELS, task, 3)
    among = np.array([0, 2])
    within = FEATURES - np.stack([FEATURES[task == each].mean(axis=0) for each in range(3)])[task]
    own = LABELS - LABELS.mean(axis=1, keepdims=True)
    rest = own - np.stack([own[task == each].mean(axis=0) for each in range(3)])[task]
    some = np.isin(task, among)
    covariance = within.T @ within / 600 + 0.7 * np.eye(24)
    expected = np.linalg.solve(covariance, within[some].T @ rest[some] / 600).T
    np.testing.assert_allclose(classes.slopes(0.7, among), expected, atol=1e-9)


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


def test_a_head_of_the_first_form_decides_as_it_did():
    """Its bound was on the cosine itself, the same for all tasks."""
    draws = np.random.default_rng(13)
    centre, scale = draws.standard_normal(6), draws.random(6) + 0.5
    weights, bias, means, overall = (draws.standard_normal(size) for size in ((2, 6), 2, (2, 3), 3))
    anchors = draws.standard_normal((60, 6))
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    numbers = [part.ravel() for part in (centre, scale, weights, bias, means, overall, anchors, np.array([0.6]))]
    form = HeadForm.of({"kind": "tasks", "tasks": 2, "anchors": 60})
    flat = np.concatenate(numbers).astype(np.float32)
    assert form.size(3, 0, 6) == len(flat)
    states = draws.standard_normal((40, 6))
    found = form.install(flat, 3, 0, 6, torch.device("cpu"))(torch.from_numpy(states).float()).numpy()
    standard = (states - centre) / scale
    cosines = standard @ anchors.T / np.linalg.norm(standard, axis=1, keepdims=True)
    novel = np.sort(cosines, axis=1)[:, -NEIGHBOURS:].mean(axis=1) < 0.6
    scores = np.where(novel[:, None], overall, softmax(standard @ weights.T + bias, axis=1) @ means)
    assert 0 < novel.sum() < 40
    np.testing.assert_allclose(found, scores / SCORE_PER_LOGIT, atol=1e-4)


def test_a_head_of_another_size_is_refused(backbones):
    with pytest.raises(BadInput, match="of the head"):
        Router(backbones("tied"), np.zeros(10), ("ant",), False, "head", form=HeadForm("tasks", 2, 3))
