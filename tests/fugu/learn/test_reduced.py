"""Int8 decides only where it decides as float32 does, and never in the matrices that a vector adapts."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3Model

from models.errors import BadInput
from models.fugu import transcript
from models.fugu.forward import backbone as backbones
from models.fugu.forward import products
from models.fugu.forward.backbone import Backbone
from models.fugu.forward.products import Int8Product, Product, int8_is_exact
from models.fugu.learn import reduced
from models.fugu.loop import LoopOptions
from models.fugu.roles import Role
from models.fugu.rollout import first_transcript
from models.fugu.router import Router
from models.grading.question import Question

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "head_dim": 64} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TEXTS = [f"user: question {number}, of all the {number * 37 % 11}th" for number in range(200)]

in_int8 = pytest.mark.skipif(not int8_is_exact(), reason="this CPU, as it is set, has no exact products of int8")


def question(number: int) -> Question:
    return Question(id=str(number), task="t", messages=({"role": "user", "content": TEXTS[number]},))


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


@in_int8
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


@in_int8
def test_it_is_taken_where_enough_decisions_agree_and_it_is_faster(router, clock, caplog):
    exact = router("late")
    caplog.set_level(logging.INFO)
    clock(2.0, 1.0)
    assert reduced.reduced(exact, TEXTS, least=0.5).backbone is exact.backbone.in_int8
    assert "% of the argmaxes agree, in 0.50 of the time" in caplog.text and "200 held-out texts" in caplog.text


@in_int8
@pytest.mark.parametrize(("least", "seconds"), [(1.01, (2.0, 1.0)), (0.5, (1.0, 2.0))])
def test_else_float32_stays_and_the_log_says_so(router, clock, caplog, least, seconds):
    exact = router("late")
    clock(*seconds)
    assert reduced.reduced(exact, TEXTS, least=least) is exact
    assert "stay in float32" in caplog.text


def test_of_too_few_texts_nothing_is_concluded(router, clock, caplog):
    exact = router("late")
    clock(2.0, 1.0)
    assert reduced.reduced(exact, TEXTS[:199], least=0.0) is exact
    assert "int8 is not tried: only 199 held-out texts are there, 200 are needed" in caplog.text


def test_whole_rollouts_are_read_and_known_replies_go_before_made_up_ones(router):
    questions, asked = [question(number) for number in range(20)], []

    def recorded(question, turn):
        asked.append((question.id, turn.turn, turn.role))
        return None if question.id != "0" else "ACCEPT" if turn.role is Role.VERIFIER else "It is 42."

    decider = router("late")
    read = list(reduced.met(decider, questions, recorded))
    first = [transcript.text(first_transcript(q.messages, len(WORKERS), LoopOptions())) for q in questions]
    assert len(read) == len(set(read)) > len(first) and set(first) < set(read)
    assert read[0] == first[0] and any("<reference_thought_0>It is 42.</reference_thought_0>" in text for text in read)
    assert any("<reference_thought_0>Step" in text for text in read)
    # Rollouts one after the other, each as the router's own decisions lead it.
    assert [id for id, *_ in asked] == sorted((id for id, *_ in asked), key=int)
    for text, decision in zip(
        read, decider.decisions(decider.logits(read), decider.mask(None, len(read))), strict=True
    ):
        if text in first:
            role = Role.SOLVER if decision.role is Role.VERIFIER else decision.role
            assert (str(first.index(text)), 1, role) in asked


def test_a_router_without_roles_reads_each_question_once(load, random_vector):
    backbone = load("tied")
    router = Router(backbone, random_vector(backbone, "late", 3), WORKERS, roles=False, layout="late")
    read = reduced.met(router, [question(number) for number in range(5)], lambda *_: None)
    assert list(read) == [f"user: {text}" for text in TEXTS[:5]]


def test_a_next_turn_is_timed_as_one(router, monkeypatch):
    exact, asked = router("late"), []
    run = exact.resumed_logits
    monkeypatch.setattr(exact, "resumed_logits", lambda texts: asked.append(list(texts)) or run(texts))
    logits, _ = reduced._timed(exact, TEXTS[:5])
    assert asked == [TEXTS[:1], *([text] for text in TEXTS[:5])]
    np.testing.assert_allclose(logits, exact.logits(TEXTS[:5]), atol=1e-4)


def test_agreement_counts_workers_and_roles():
    exact = np.eye(4)[[0, 1, 0, 1]] + np.eye(4)[[2, 2, 3, 3]]
    rough = np.eye(4)[[0, 1, 1, 1]] + np.eye(4)[[2, 3, 3, 3]]
    assert reduced.agreement(exact, rough, 2) == 0.5
    assert reduced.agreement(exact[:, :2], rough[:, :2], 2) == 0.75


@in_int8
def test_a_conversation_that_goes_on_is_read_as_from_scratch(tokenizer, random_vector, monkeypatch):
    # Wide and deep enough for a difference of rounding to reach the decision, as kept keys and values have it.
    model = Qwen3Model(Qwen3Config(vocab_size=320, tie_word_embeddings=True, **WIDE)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=parameter.shape[1] ** -0.5, generator=generator)
    backbone = Backbone(model, tokenizer, Path("random"), "random")
    rough = Router(backbone.in_int8, random_vector(backbone, "late", ROWS), WORKERS, layout="late")
    turns = [" and then ".join(TEXTS[:end]) for end in (10, 15, 20)]

    def error() -> float:
        return max(float(np.abs(rough.resumed_logits([turn]) - rough.logits([turn])).max()) for turn in turns)

    assert backbone.resumes and not rough.backbone.resumes and error() < 1e-3
    # Not every CPU rounds otherwise where keys and values are kept: here the last bits are moved on any.
    run, moved = Int8Product.__call__, torch.Generator().manual_seed(1)
    whole = rough.logits(turns)
    rough.backbone.forget()
    bit = torch.finfo(torch.float32).eps
    monkeypatch.setattr(
        Int8Product, "__call__", lambda self, x: run(self, x * (1 + bit * torch.randn(x.shape, generator=moved)))
    )
    assert np.abs(rough.logits(turns) - whole).max() > 1e-3


def test_a_model_without_named_layers_has_no_int8(load):
    with pytest.raises(BadInput):
        _ = load("gpt2").in_int8


def test_a_cpu_whose_products_are_not_exact_has_no_int8_and_says_why(router, monkeypatch):
    monkeypatch.setattr(backbones, "int8_is_exact", lambda: False)
    with pytest.raises(BadInput, match="VNNI"):
        reduced.reduced(router("late"), TEXTS)
