"""Offsets are trained through the callable that is handed in, and kept only where validation gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.errors import BadInput
from models.fugu.learn.adapt import AdaptOptions, Examples, adapt
from models.fugu.learn.targets import soft_targets
from models.fugu.router import Router

WIDTH = 4


def hidden(texts: Sequence[str], offsets: torch.Tensor) -> torch.Tensor:
    """Two informative numbers per text, the second faint until its offset grows; two of noise."""
    raw = torch.tensor([[float(part) for part in text.split()] for text in texts])
    return raw * (1 + offsets)


def examples(n: int, seed: int, *, honest: bool = True) -> Examples:
    draws = np.random.default_rng(seed)
    states = draws.standard_normal((n, WIDTH))
    sign = states[:, 0] + states[:, 1] > 0
    labels = np.stack([sign, ~sign], axis=1).astype(float) if honest else draws.integers(0, 2, (n, 2)).astype(float)
    texts = [" ".join(f"{x:.4f}" for x in row) for row in states]
    return Examples(texts, soft_targets(labels, 0.2), labels)


HEAD = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], np.float32)
OPTIONS = AdaptOptions(learning_rate=0.05, epochs=6)


def test_head_and_offsets_improve_on_validation_and_are_kept():
    found = adapt(hidden, HEAD, np.zeros(WIDTH, np.float32), examples(200, 0), examples(100, 1), OPTIONS)
    assert found.kept and found.after > found.before + 0.1
    assert not np.array_equal(found.offsets, np.zeros(WIDTH)) and found.offsets.dtype == np.float32
    assert abs(found.weights[0, 1]) > 0.1 and found.weights.shape == HEAD.shape


def test_the_reported_validation_score_is_that_of_the_returned_parameters():
    valid = examples(100, 1)
    found = adapt(hidden, HEAD, np.zeros(WIDTH, np.float32), examples(200, 0), valid, OPTIONS)
    states = hidden(valid.texts, torch.tensor(found.offsets)).numpy()
    choice = (states @ found.weights.T).argmax(axis=1)
    assert valid.labels[np.arange(100), choice].mean() == pytest.approx(found.after)


def test_what_was_given_comes_back_where_validation_does_not_gain():
    # The head is perfect on validation and its own loss there cannot fall by learning the opposite.
    valid = examples(100, 1)
    states = np.array([[float(x) for x in text.split()] for text in valid.texts])
    perfect = 50 * np.array([[1.0, 1, 0, 0], [-1.0, -1, 0, 0]], np.float32)
    assert (valid.labels[np.arange(100), (states @ perfect.T).argmax(axis=1)] == 1).all()
    train = examples(200, 0)
    wrong = Examples(train.texts, train.targets[:, ::-1].copy(), train.labels[:, ::-1].copy())
    sharp = Examples(valid.texts, soft_targets(valid.labels, 0.01), valid.labels)
    offsets = np.full(WIDTH, 0.01, np.float32)
    found = adapt(hidden, perfect, offsets, wrong, sharp, AdaptOptions(learning_rate=1e-3, epochs=3))
    assert not found.kept and found.after == found.before
    assert np.array_equal(found.weights, perfect) and np.array_equal(found.offsets, offsets)


def test_a_diverging_run_is_not_kept():
    def broken(texts: Sequence[str], offsets: torch.Tensor) -> torch.Tensor:
        return hidden(texts, torch.where(offsets == 0, offsets, offsets * float("nan")))

    found = adapt(broken, HEAD, np.zeros(WIDTH, np.float32), examples(64, 0), examples(32, 1), OPTIONS)
    assert not found.kept and np.isfinite(found.weights).all()


def test_adaptation_is_repeatable_and_leaves_its_inputs_alone():
    head, offsets = HEAD.copy(), np.zeros(WIDTH, np.float32)
    runs = [adapt(hidden, head, offsets, examples(80, 0), examples(40, 1), OPTIONS) for _ in range(2)]
    assert np.array_equal(runs[0].weights, runs[1].weights) and np.array_equal(runs[0].offsets, runs[1].offsets)
    assert np.array_equal(head, HEAD) and not offsets.any()


def test_a_head_alone_is_trained_where_there_are_no_offsets():
    def fixed(texts: Sequence[str], offsets: torch.Tensor) -> torch.Tensor:
        return hidden(texts, torch.zeros(WIDTH))

    found = adapt(fixed, HEAD, np.zeros(0, np.float32), examples(200, 0), examples(100, 1), OPTIONS)
    assert found.kept and found.offsets.shape == (0,)


def test_an_empty_part_is_refused():
    nothing = Examples([], np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(BadInput):
        adapt(hidden, HEAD, np.zeros(WIDTH), examples(8, 0), nothing)


def test_offsets_of_a_real_router_are_trained_through_its_hidden_states(backbones, random_vector):
    backbone = backbones("tied")
    router = Router.from_vector(backbone, random_vector(backbone, "late", 2), ("a", "b"), roles=False, layout="late")
    count = router.layout.offsets
    texts = [f"user: {word} {n}" for n in range(8) for word in ("add", "translate")]
    labels = np.tile(np.eye(2), (8, 1))
    part = Examples(texts, soft_targets(labels, 0.2), labels)
    head = np.random.default_rng(0).standard_normal((2, backbone.width)).astype(np.float32)
    options = AdaptOptions(learning_rate=0.02, epochs=4, batch=8)
    found = adapt(router.hidden, head, np.zeros(count, np.float32), part, part, options)
    assert found.kept and found.offsets.shape == (count,) and np.abs(found.offsets).max() > 0.01
