"""Int8 decides only where it decides as float32 does, and never in the matrices that a vector adapts."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from models.errors import BadInput
from models.fugu import products, reduced
from models.fugu.products import Int8Product, Product
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3
TEXTS = [f"user: question {number}, of all the {number * 37 % 11}th" for number in range(40)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The tests' matrices are as small as can be."""
    monkeypatch.setattr(products, "_SMALLEST", 1)


@pytest.fixture
def router(load, random_vector):
    def make(layout):
        backbone = load("tied")
        return Router(backbone, random_vector(backbone, layout, ROWS), WORKERS, layout=layout)

    return make


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a router's texts take: (float32, int8)."""

    def set_to(slow, fast):
        run = reduced._timed
        seconds = iter((slow, fast))
        monkeypatch.setattr(reduced, "_timed", lambda *given: (run(*given)[0], next(seconds)))

    return set_to


@pytest.mark.parametrize("layout", ["head", "late", "released"])
def test_it_is_close_and_its_adapted_matrices_stay_exact(router, layout):
    exact = router(layout)
    rough = Router(exact.backbone.in_int8, exact.vector, WORKERS, layout=layout)
    error = np.abs(rough.logits(TEXTS) - exact.logits(TEXTS))
    assert 0 < error.max() < 0.1 * np.abs(exact.logits(TEXTS)).max()
    kinds = {name: type(product) for name, product in rough.backbone.decoder._products.items()}
    assert set(kinds.values()) == {Int8Product}
    assert not kinds.keys() & {block.name for block in exact.layout.blocks}
    assert {type(product) for product in exact.backbone.decoder._products.values()} == {Product}


def test_it_is_taken_where_enough_decisions_agree_and_it_is_faster(router, clock, caplog):
    exact = router("late")
    caplog.set_level(logging.INFO)
    clock(2.0, 1.0)
    assert reduced.reduced(exact, TEXTS, least=0.5).backbone is exact.backbone.in_int8
    assert "% of the argmaxes agree, in 0.50 of the time" in caplog.text and "40 held-out texts" in caplog.text


@pytest.mark.parametrize(("least", "seconds"), [(1.01, (2.0, 1.0)), (0.5, (1.0, 2.0))])
def test_else_float32_stays_and_the_log_says_so(router, clock, caplog, least, seconds):
    exact = router("late")
    clock(*seconds)
    assert reduced.reduced(exact, TEXTS, least=least) is exact
    assert "stay in float32" in caplog.text


def test_agreement_counts_workers_and_roles():
    exact = np.eye(4)[[0, 1, 0, 1]] + np.eye(4)[[2, 2, 3, 3]]
    rough = np.eye(4)[[0, 1, 1, 1]] + np.eye(4)[[2, 3, 3, 3]]
    assert reduced.agreement(exact, rough, 2) == 0.5
    assert reduced.agreement(exact[:, :2], rough[:, :2], 2) == 0.75


def test_a_conversation_that_goes_on_is_read_as_from_scratch(router):
    rough = Router((exact := router("late")).backbone.in_int8, exact.vector, WORKERS, layout="late")
    for end in range(1, 6):
        text = " and then ".join(TEXTS[:end])
        np.testing.assert_allclose(rough.resumed_logits([text]), rough.logits([text]), atol=1e-3)


def test_a_model_without_named_layers_has_no_int8(load):
    with pytest.raises(BadInput):
        _ = load("gpt2").in_int8
