"""Forwards in buckets give what forwards of the bare tokens give; a captured graph gives what it was captured from."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.fugu.forward import graphs
from models.fugu.forward.backbone import Backbone
from models.fugu.forward.graphs import Graphs, shape_of
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3


@pytest.fixture
def backbone(load):
    """One that decides as on CUDA, where conversations are not resumed."""
    backbone = load("tied")
    backbone.graphs = Graphs(backbone.decoder)
    return backbone


@pytest.fixture(autouse=True)
def unresumed(monkeypatch):
    monkeypatch.setattr(Backbone, "resumes", property(lambda self: False))


@pytest.mark.parametrize("layout", ["head", "late", "released"])
@pytest.mark.parametrize("folded", [False, True])
def test_buckets_change_no_decision(backbone, random_vector, texts, layout, folded):
    router = Router(backbone, random_vector(backbone, layout, ROWS), WORKERS, layout=layout)
    if folded:
        router.fold()
    for some in (texts, texts[:1], texts[1:3], [*texts, *texts[:2]]):
        np.testing.assert_allclose(router.resumed_logits(some), router.logits(some), atol=1e-4)


class Static(TorchDispatchMode):
    """Refuses what no graph can capture: results whose shape depends on numbers, and numbers that the program reads."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        dynamic = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(func.tags)
        # Indexing is dynamic by masks alone, which are not used here: `nonzero` would count them.
        assert not dynamic or func is torch.ops.aten.index.Tensor, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", ["head", "late", "released"])
@pytest.mark.parametrize("folded", [False, True])
def test_only_what_has_fixed_shapes_is_captured(backbone, random_vector, texts, layout, folded, monkeypatch):
    captured, forward = [], Graphs._forward

    def watched(self, *given):
        captured.append(given)
        with Static():
            return forward(self, *given)

    monkeypatch.setattr(Graphs, "_forward", watched)
    router = Router(backbone, random_vector(backbone, layout, ROWS), WORKERS, layout=layout)
    if folded:
        router.fold()
    np.testing.assert_allclose(router.resumed_logits(texts), router.logits(texts), atol=1e-4)
    assert bool(captured) == (folded or layout != "released")


def test_a_shape_is_captured_once_for_each_owner(backbone, random_vector, texts, monkeypatch):
    captured, capture = [], Graphs._captured
    monkeypatch.setattr(
        Graphs, "_captured", lambda self, *given: captured.append(given[0].shape) or capture(self, *given)
    )
    vectors = [random_vector(backbone, "late", ROWS, seed) for seed in range(2)]
    for times, vector in ((1, vectors[0]), (1, vectors[0]), (2, vectors[1])):
        router = Router(backbone, vector, WORKERS, layout="late")
        for text in (texts[0], texts[2], texts[0] + "!"):
            np.testing.assert_allclose(router.resumed_logits([text]), router.logits([text]), atol=1e-4)
        assert len(captured) == times * len(set(captured))


def test_a_graph_keeps_what_it_reads(backbone, random_vector, texts, monkeypatch):
    # As on CUDA, where a captured graph knows addresses alone.
    monkeypatch.setattr(Graphs, "_recorded", lambda self, forward: (forward(), lambda: None))
    router = Router(backbone, random_vector(backbone, "late", ROWS), WORKERS, layout="late")
    router.fold()
    router.resumed_logits(texts[:1])
    read = [weakref.ref(product) for product in router._installed.scaling.folded.values()]
    del router
    gc.collect()
    assert read and all(product() is not None for product in read)
    backbone.graphs._kept.clear()
    gc.collect()
    assert all(product() is None for product in read)


def test_large_batches_are_run_as_they_are(backbone, texts, monkeypatch):
    expected = backbone.hidden(texts)
    monkeypatch.setattr(graphs, "MOST_TOKENS", 16)
    monkeypatch.setattr(Graphs, "_captured", None)
    torch.testing.assert_close(backbone.resumed(texts, None, ""), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("lengths", "shape"), [((1,), (1, 32)), ((32, 33, 5), (4, 64)), ((2049,), None)])
def test_buckets_hold_their_texts(lengths, shape):
    assert shape_of([torch.zeros(length) for length in lengths]) == shape
    assert shape_of([torch.zeros(512)] * 17) is None  # launching is a small part of it


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's")
def test_on_cuda_graphs_are_off_by_default(make_folder):
    folder = make_folder("tied")
    assert Backbone.load(folder, device="cuda").graphs is None
    assert Backbone.load(folder, device="cuda", graphs=True).graphs is not None


def test_on_a_cpu_there_are_no_graphs(make_folder):
    assert Backbone.load(make_folder("tied"), device="cpu", graphs=True).graphs is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's")
@pytest.mark.parametrize("layout", ["head", "late", "released"])
def test_on_cuda_replays_agree_with_plain_forwards(make_folder, random_vector, texts, layout):
    backbone = Backbone.load(make_folder("tied"), device="cuda", graphs=True)
    router = Router(backbone, random_vector(backbone, layout, ROWS), WORKERS, layout=layout)
    router.fold()
    for _ in range(3):
        for some in (texts, texts[:1], texts[1:3]):
            np.testing.assert_allclose(router.resumed_logits(some), router.logits(some), atol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's")
def test_on_cuda_a_graph_outlives_the_router_that_it_was_captured_for(make_folder, random_vector, texts):
    backbone = Backbone.load(make_folder("tied"), device="cuda", graphs=True)
    vector = random_vector(backbone, "late", ROWS)

    def decided() -> np.ndarray:
        router = Router(backbone, vector, WORKERS, layout="late")
        router.fold()
        return router.resumed_logits(texts[:2])

    first = decided()
    gc.collect()
    torch.cuda.empty_cache()
    filled = [torch.full((1 << 16,), torch.nan, device="cuda") for _ in range(256)]  # what was freed is another's now
    np.testing.assert_array_equal(decided(), first)
    del filled


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's")
@pytest.mark.parametrize("layout", ["late", "released"])
def test_on_cuda_a_router_decides_that_is_not_folded(make_folder, random_vector, texts, layout):
    backbone = Backbone.load(make_folder("tied"), device="cuda", graphs=True)
    router = Router(backbone, random_vector(backbone, layout, ROWS), WORKERS, layout=layout)
    for some in (texts, texts[:1]):
        np.testing.assert_allclose(router.resumed_logits(some), router.logits(some), atol=0.1)
