"""The router against a plain dense reconstruction in float64, and its rules."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from transformers import AutoModel

from models.errors import BadInput, NoWorkerAllowed
from models.fugu import transcript
from models.fugu import vector as vectors
from models.fugu.forward.backbone import Backbone
from models.fugu.forward.layout import layout_for
from models.fugu.roles import Role
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3
MODELS = ["tied", "untied", "two layers", "few words", "llama", "qwen2", "mistral"]


def scaled(weight: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """SVF by its definition (TRINITY, arXiv 2512.04695)."""
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    new = s * (1 + offsets)
    return u @ torch.diag(new) @ vt * (s.sum() / new.sum())


def dense_logits(backbone: Backbone, layout_name: str, vector: np.ndarray, texts: list[str]) -> np.ndarray:
    """Every matrix rebuilt in float64, in `state_dict` order (a tied one twice), whole texts, token −2."""
    model = AutoModel.from_pretrained(backbone.folder, dtype=torch.float64)
    layout, numbers, start = layout_for(backbone.decoder, layout_name), torch.from_numpy(vector).double(), 0
    for block in layout.blocks:
        offsets, start = numbers[start : start + block.size], start + block.size
        if block.name == "lm_head" and not model.config.tie_word_embeddings:
            continue
        module = model.get_submodule("embed_tokens" if block.name == "lm_head" else block.name)
        module.weight.data = scaled(module.weight.data, offsets)
    head = numbers[start:].reshape(-1, backbone.width)
    rows = []
    for text in texts:
        ids = backbone.tokenizer(text)["input_ids"]
        with torch.no_grad():
            rows.append(head @ model(torch.tensor([ids])).last_hidden_state[0, max(len(ids) - 2, 0)])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("spread", [0.1, 0.8], ids=["small offsets", "negative scales"])
@pytest.mark.parametrize("layout", ["released", "late"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_the_dense_reconstruction(backbones, texts, random_vector, name, layout, spread):
    backbone = backbones(name)
    vector = random_vector(backbone, layout, ROWS, seed=1, spread=spread)
    logits = Router(backbone, vector, WORKERS, layout=layout).logits(texts)
    expected = dense_logits(backbone, layout, vector, texts)
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    np.testing.assert_array_equal(logits[:, :3].argmax(1), expected[:, :3].argmax(1))
    np.testing.assert_array_equal(logits[:, 3:].argmax(1), expected[:, 3:].argmax(1))


@pytest.mark.parametrize("layout", ["released", "late"])
def test_no_offsets_give_the_plain_backbone(backbones, texts, layout):
    backbone = backbones("tied")
    head = np.random.default_rng(0).standard_normal((ROWS, backbone.width)).astype(np.float32)
    offsets = np.zeros(layout_for(backbone.decoder, layout).offsets)
    logits = Router(backbone, vectors.join(offsets, head), WORKERS, layout=layout).logits(texts)
    np.testing.assert_allclose(logits, backbone.features(texts) @ head.T, atol=1e-3)


def test_head_logits_are_features_times_head(backbones, texts, random_vector):
    for name in ("tied", "gpt2", "bert"):
        backbone, short = backbones(name), texts[:1]
        vector = random_vector(backbone, "head", len(WORKERS))
        logits = Router(backbone, vector, WORKERS, roles=False, layout="head").logits(short)
        expected = backbone.features(short) @ vector.reshape(len(WORKERS), -1).T
        np.testing.assert_allclose(logits, expected, rtol=1e-5)


@pytest.fixture
def router(backbones, random_vector) -> Router:
    backbone = backbones("tied")
    return Router(backbone, random_vector(backbone, "late", ROWS), WORKERS, layout="late")


@pytest.fixture
def conversations(texts) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text.removeprefix("user: ")}] for text in texts]


def test_a_decision_is_the_argmax_of_worker_and_role_logits(router, conversations):
    logits = router.logits([transcript.text(messages) for messages in conversations])
    for decision, row in zip(router.decide_many(conversations), logits, strict=True):
        np.testing.assert_allclose(np.concatenate([decision.worker_logits, decision.role_logits]), row, atol=1e-5)
        best, second = np.sort(row[:3])[:-3:-1]
        assert decision.worker == WORKERS[decision.worker_index] and decision.worker_index == row[:3].argmax()
        assert decision.role is Role(int(row[3:].argmax()))
        assert decision.margin == pytest.approx(best - second, abs=1e-4)
        assert decision.seconds > 0


def test_many_decisions_are_those_made_one_by_one(router, conversations):
    for one, many in zip(map(router.decide, conversations), router.decide_many(conversations), strict=True):
        assert (one.worker, one.role) == (many.worker, many.role)
    assert router.decide_many([]) == [] and router.logits([]).shape == (0, ROWS)


def test_a_router_without_roles_names_none(backbones, random_vector):
    backbone = backbones("tied")
    router = Router(backbone, random_vector(backbone, "head", 3), WORKERS, roles=False, layout="head")
    decision = router.decide([{"role": "user", "content": "Hi"}])
    assert decision.role is None and decision.role_logits is None and len(decision.worker_logits) == 3


def test_a_disallowed_worker_is_never_chosen(router, conversations):
    free = router.decide_many(conversations)
    for worker in WORKERS:
        rest = [name for name in WORKERS if name != worker]
        for decision, before in zip(router.decide_many(conversations, rest), free, strict=True):
            assert decision.worker in rest
            assert before.worker == worker or decision.worker == before.worker
    only = router.decide(conversations[0], ["bee"])
    assert only.worker == "bee" and only.margin == float("inf")


def test_a_mask_may_differ_from_text_to_text(router, conversations):
    mask = np.eye(3, dtype=bool)[[0, 1, 2, 0, 1]]
    assert [d.worker_index for d in router.decide_many(conversations, mask)] == [0, 1, 2, 0, 1]


def test_a_mask_may_be_a_list_and_names_may_be_a_generator(router):
    assert router.mask([True, False, True], 2).tolist() == [[True, False, True]] * 2
    assert router.mask([[True, False, False], [False, False, True]], 2).argmax(1).tolist() == [0, 2]
    assert router.mask((name for name in ("cat", "ant")), 1).tolist() == [[True, False, True]]
    assert router.mask({"bee"}, 1).tolist() == [[False, True, False]]


def test_logits_that_are_not_finite_decide_nothing(backbones, conversations):
    backbone = backbones("tied")
    huge = np.full(3 * backbone.width, 3e38, np.float32)
    router = Router(backbone, huge, WORKERS, roles=False, layout="head")
    for decide in (lambda: router.decide(conversations[0]), lambda: router.decide_many(conversations)):
        with pytest.raises(BadInput, match="not finite") as caught:
            decide()
        assert caught.value.field == "vector"


def test_noise_moves_the_choice_and_not_the_logits(router, conversations):
    noise = np.zeros((len(conversations), ROWS))
    noise[:, 2] = noise[:, 3 + Role.VERIFIER] = 1e6
    for decision, plain in zip(
        router.decide_many(conversations, noise=noise), router.decide_many(conversations), strict=True
    ):
        assert decision.worker == "cat" and decision.role is Role.VERIFIER
        np.testing.assert_array_equal(decision.worker_logits, plain.worker_logits)
    with pytest.raises(BadInput, match="noise"):
        router.decide_many(conversations, noise=noise[:, :3])


@pytest.mark.parametrize(
    ("allowed", "error", "message"),
    [
        ([], NoWorkerAllowed, "no worker"),
        (np.zeros(3, bool), NoWorkerAllowed, "no worker"),
        (["ant", "dog"], BadInput, "dog"),
        (np.ones(2, bool), BadInput, "mask"),
        (np.ones(3), BadInput, "mask"),
        ([False] * 3, NoWorkerAllowed, "no worker"),
        ([True] * 2, BadInput, "mask"),
        ([[True], [True, False, True]], BadInput, "mask"),
        ([1, 0, 1], BadInput, "mask"),
        (["ant", 3], BadInput, "no worker 3"),
        ("ant", BadInput, "names or as a mask"),
        (3, BadInput, "names or as a mask"),
    ],
)
def test_a_mask_that_does_not_fit_is_an_error(router, allowed, error, message):
    with pytest.raises(error, match=message) as caught:
        router.decide([{"role": "user", "content": "Hi"}], allowed)
    assert caught.value.field == "allowed"


def test_an_empty_conversation_is_an_error(router):
    with pytest.raises(BadInput) as caught:
        router.decide([])
    assert caught.value.field == "messages"


def test_a_vector_of_the_wrong_length_is_told_the_right_one(backbones, router):
    expected = router.layout.offsets + ROWS * 32
    with pytest.raises(BadInput, match=str(expected)):
        Router.from_vector(backbones("tied"), np.zeros(expected - 1), WORKERS, layout="late")
    before = router.vector
    for bad in (np.zeros(3), np.full(expected, np.nan), np.full(expected, -2.0)):
        with pytest.raises(BadInput):
            router.install(bad)
    np.testing.assert_array_equal(router.vector, before)


@pytest.mark.parametrize("workers", [[], ["ant", "ant"]])
def test_workers_have_names_of_their_own(backbones, workers):
    with pytest.raises(BadInput) as caught:
        Router(backbones("tied"), np.zeros(3), workers)
    assert caught.value.field == "workers"


def test_a_candidate_may_be_installed_or_passed_in(router, texts, random_vector):
    candidate = random_vector(router.backbone, "late", ROWS, seed=9)
    before, digest = router.logits(texts), router.digest
    passed = router.logits(texts, candidate)
    np.testing.assert_array_equal(router.logits(texts), before)
    assert router.digest == digest
    router.install(candidate)
    np.testing.assert_array_equal(router.logits(texts), passed)
    assert router.digest == vectors.digest(candidate) and np.abs(passed - before).max() > 0.1


def test_threads_never_mix_two_vectors(router, texts, random_vector):
    candidates = [random_vector(router.backbone, "late", ROWS, seed=seed) for seed in range(2)]
    expected = [router.logits(texts, candidate) for candidate in candidates]
    stop = threading.Event()

    def install() -> None:
        while not stop.is_set():
            for candidate in candidates:
                router.install(candidate)

    router.install(candidates[0])
    thread = threading.Thread(target=install)
    thread.start()
    try:
        for _ in range(40):
            seen = router.logits(texts)
            assert any(np.array_equal(seen, each) for each in expected)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("layout", ["released", "late"])
def test_states_are_differentiable_in_the_offsets(backbones, texts, random_vector, layout):
    backbone = backbones("untied")  # tied, two singular values that change places make a jump
    router = Router(backbone, random_vector(backbone, layout, ROWS), WORKERS, layout=layout)
    start, direction = (
        torch.from_numpy(np.random.default_rng(i).normal(0, 0.1, router.layout.offsets)) for i in (0, 1)
    )
    offsets = start.clone().requires_grad_()
    weights = torch.randn(len(texts), backbone.width, generator=torch.Generator().manual_seed(0))
    (router.hidden(texts, offsets) * weights).sum().backward()
    step = 1e-2 / direction.norm()
    with torch.no_grad():
        ahead, behind = (
            (router.hidden(texts, start + sign * step * direction).double() * weights).sum() for sign in (1, -1)
        )
    slope = ((ahead - behind) / (2 * step)).item()
    assert (offsets.grad @ direction).item() == pytest.approx(slope, rel=0.03, abs=0.05)


def test_states_without_offsets_are_the_features(router, texts):
    np.testing.assert_array_equal(router.hidden(texts).numpy(), router.backbone.features(texts))
