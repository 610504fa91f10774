"""Many candidates at once, and one that is folded: the same states as each alone, with what is common done once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.fugu.forward import svf
from models.fugu.forward.layout import layout_for
from models.fugu.forward.products import Product
from models.fugu.forward.scaling import scale_matrices, stacked
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3
MODELS = ["tied", "untied", "two layers", "few words", "llama", "qwen2"]


@pytest.fixture
def population(random_vector):
    return lambda backbone, layout, count=4: np.stack(
        [random_vector(backbone, layout, ROWS, seed=seed) for seed in range(count)]
    )


@pytest.mark.parametrize("layout", ["released", "late", "head"])
@pytest.mark.parametrize("name", MODELS)
def test_a_population_has_the_states_of_its_candidates(backbones, texts, population, name, layout):
    backbone = backbones(name)
    vectors = population(backbone, layout)
    router = Router(backbone, vectors[0], WORKERS, layout=layout)
    together = router.states_of_population(texts, vectors)
    assert together.shape == (len(vectors), len(texts), backbone.width)
    for vector, states in zip(vectors, together, strict=True):
        router.install(vector)
        np.testing.assert_allclose(states, router.states(texts), atol=1e-4)


@pytest.mark.parametrize("layout", ["released", "late", "head"])
def test_every_text_may_be_under_a_candidate_of_its_own(backbones, texts, population, layout):
    backbone = backbones("tied")
    vectors = population(backbone, layout)
    router = Router(backbone, vectors[0], WORKERS, layout=layout)
    candidates = [router.candidate(vector) for vector in vectors]
    rows = [(texts[i % len(texts)], (7 * i) % len(candidates)) for i in range(13)]
    found = router.logits_of([text for text, _ in rows], [candidates[owner] for _, owner in rows])
    for (text, owner), logits in zip(rows, found, strict=True):
        np.testing.assert_allclose(logits, router.logits([text], vectors[owner])[0], atol=1e-4)
    assert router.logits_of([], []).shape == (0, ROWS)


@pytest.fixture
def rows_through(monkeypatch):
    """How many rows go through the product with a matrix of each shape."""

    def count(run) -> dict[tuple[int, ...], int]:
        seen: dict[tuple[int, ...], int] = {}
        call = Product.__call__

        def counted(self, x):
            shape = tuple(self.weight.shape)
            seen[shape] = seen.get(shape, 0) + x.numel() // x.shape[-1]
            return call(self, x)

        with monkeypatch.context() as patch:
            patch.setattr(Product, "__call__", counted)
            run()
        return seen

    return count


def test_late_candidates_share_all_that_precedes_their_gains(load, texts, population, rows_through):
    backbone = load("untied")  # width 24, inner 80, 32 numbers in the heads of a query, 16 in a key
    vectors, text = population(backbone, "late", 5), texts[0]
    router = Router(backbone, vectors[0], WORKERS, layout="late")
    router.logits([text])
    tokens = len(backbone.reader.tokens([text])[0])
    seen = rows_through(lambda: router.states_of_population([text], vectors))
    # [16, 24] are both the keys' and the values' right factor, [16, 16] their left ones; in the last layer keys are
    # made for all tokens, values for the four mixtures of the two heads that the one query has.
    assert seen[16, 24] == 2 * tokens + 5 * (tokens + 2)
    assert seen[16, 16] == 2 * 5 * tokens


def test_released_candidates_look_a_token_up_once(load, texts, population, monkeypatch):
    backbone = load("tied")
    vectors = population(backbone, "released", 5)
    router = Router(backbone, vectors[0], WORKERS)
    looked = []
    embedding = svf.F.embedding
    monkeypatch.setattr(svf.F, "embedding", lambda ids, weight: looked.append(ids.numel()) or embedding(ids, weight))
    text = "user: " + "stone " * 20
    router.states_of_population([text], vectors)
    assert looked == [len(set(backbone.reader.tokens([text])[0].tolist()))]


def test_candidates_that_differ_in_their_heads_share_states(load, texts, population, monkeypatch):
    backbone = load("tied")
    vectors = population(backbone, "late")
    offsets = layout_for(backbone.decoder, "late").offsets
    vectors[:, :offsets] = vectors[0, :offsets]
    router = Router(backbone, vectors[0], WORKERS, layout="late")
    rows = []
    run = backbone._scaled
    monkeypatch.setattr(backbone, "_scaled", lambda wanted, scaling: rows.extend(wanted) or run(wanted, scaling))
    candidates = [router.candidate(vector) for vector in vectors for _ in texts]
    logits = router.logits_of([*texts] * len(vectors), candidates).reshape(len(vectors), len(texts), -1)
    assert len(rows) == len(texts)
    for vector, expected in zip(vectors, logits, strict=True):
        np.testing.assert_allclose(router.logits(texts, vector), expected, atol=1e-4)


@pytest.mark.parametrize("layout", ["released", "late", "head"])
@pytest.mark.parametrize("name", MODELS)
def test_a_folded_router_decides_the_same(backbones, texts, population, name, layout):
    backbone = backbones(name)
    vector = population(backbone, layout, 1)[0]
    router = Router(backbone, vector, WORKERS, layout=layout)
    before = router.logits(texts)
    router.fold()
    np.testing.assert_allclose(router.logits(texts), before, atol=1e-4)
    np.testing.assert_allclose(router.resumed_logits(texts), before, atol=1e-4)
    np.testing.assert_array_equal(router.vector, vector)
    router.install(2 * vector)
    np.testing.assert_allclose(router.logits(texts), router.logits(texts, 2 * vector), atol=1e-6)


def test_small_offsets_move_bfloat16_as_they_move_float32(load, random_vector):
    """In the mean of many logits, because rounding moves a single one further than they do."""
    half, whole = load("tied", dtype=torch.bfloat16), load("tied")
    whole.model.to(torch.bfloat16).float()  # the same weights
    small, none = (random_vector(whole, "late", 100, spread=spread) for spread in (0.001, 0.0))
    draws = np.random.default_rng(0)
    texts = ["user: " + "".join(map(chr, draws.integers(97, 123, 20))) for _ in range(400)]
    moved = []
    for backbone in (whole, half):
        router = Router(backbone, none, [str(n) for n in range(100)], roles=False, layout="late")
        assert {gains.dtype for gains in router.candidate(small).scaling.gains.values()} == {torch.float32}
        moved.append((router.logits(texts, small) - router.logits(texts, none)).ravel())
    exact, rough = moved
    assert exact @ rough / (exact @ exact) == pytest.approx(1, abs=0.25)


def test_gains_of_many_are_those_of_each(backbones, population):
    backbone = backbones("tied")
    layout = layout_for(backbone.decoder, "released")
    offsets = torch.from_numpy(population(backbone, "released")[:, : layout.offsets].copy())
    together, each = (
        scale_matrices(backbone.factors, backbone.tied, layout, offsets),
        [scale_matrices(backbone.factors, backbone.tied, layout, row) for row in offsets],
    )
    for name, gains in together.gains.items():
        torch.testing.assert_close(stacked(each).gains[name], gains, atol=0, rtol=0)
    assert together.count == len(offsets) and stacked(each[:1]) is each[0]
