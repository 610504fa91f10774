"""A small model's decision as one call: the same logits, whatever shape was traced first, and none for large models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.fugu.forward import products
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")


@pytest.fixture
def make_router(load, random_vector):
    def make(name: str, layout: str, seed: int = 0) -> Router:
        backbone = load(name)
        return Router(backbone, random_vector(backbone, layout, 6, seed=seed), WORKERS, layout=layout)

    return make


@pytest.fixture
def traces(monkeypatch):
    """The shapes at which a router's decisions are traced from now on, and how many it decides in one call."""

    def watch(router):
        traced, found, calls = router.backbone._traced, [], []
        trace, resume = traced._trace, traced.resume
        monkeypatch.setattr(traced, "_trace", lambda ids, *rest: found.append(tuple(ids.shape)) or trace(ids, *rest))
        monkeypatch.setattr(traced, "resume", lambda ids, *rest: calls.append(len(ids)) or resume(ids, *rest))
        return found, calls

    return watch


@pytest.mark.parametrize("layout", ["late", "head"])
@pytest.mark.parametrize("name", ["tied", "untied", "two layers", "llama", "qwen2"])
def test_one_trace_serves_every_shape_with_the_logits_of_the_plain_forward(make_router, texts, traces, name, layout):
    router = make_router(name, layout)
    found, calls = traces(router)
    for batch in (texts[:2], texts[2:3], texts, [text + " And then?" for text in texts]):
        router.backbone._prefixes.clear()
        np.testing.assert_allclose(router.resumed_logits(batch), router.logits(batch), atol=1e-4)
    assert len(found) == 1 and sum(calls) >= len(set(texts))


def test_each_routers_offsets_have_a_trace_of_their_own(make_router, load, texts, traces, random_vector):
    router = make_router("tied", "late")
    found, _ = traces(router)
    first = router.resumed_logits(texts)
    router.install(random_vector(router.backbone, "late", 6, seed=3, spread=0.5))
    second = router.resumed_logits(texts)
    assert len(found) == 2 and np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(second, router.logits(texts), atol=1e-4)


def test_threads_decide_at_once_with_one_trace(make_router, texts, traces):
    router = make_router("tied", "late")
    found, _ = traces(router)
    expected = router.logits(texts)
    with ThreadPoolExecutor(4) as pool:
        for logits in pool.map(router.resumed_logits, [texts] * 8):
            np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert len(found) == 1


def test_what_a_trace_cannot_hold_is_not_traced(load, texts, random_vector, monkeypatch):
    monkeypatch.setattr(products, "_PACKED", 1)
    backbone = load("tied")
    assert backbone._traced is None
    router = Router(backbone, random_vector(backbone, "late", 6), WORKERS, layout="late")
    np.testing.assert_allclose(router.resumed_logits(texts), router.logits(texts), atol=1e-4)
