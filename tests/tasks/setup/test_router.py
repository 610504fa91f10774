"""How much a backbone remembers, and in what it computes, is said by settings and presets."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.fugu.forward import backbone as backbones
from models.fugu.forward.layout import layout_for
from models.fugu.forward.products import int8_is_exact
from models.fugu.learn import reduced
from models.fugu.router import Router
from models.grading.question import Question
from models.house.backbone import TINY
from models.house.qwen import fresh, train_tokenizer
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.epochs import open_epoch, scope_of
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply, Sampling, seed_for
from tasks.setup import router as route
from tasks.setup.preset import BackbonePlan, load_preset
from tasks.setup.settings import settings

WORKERS = ("ant", "bee", "cat")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home whose one backbone is tiny and untrained."""
    folder = tmp_path / "backbones" / "some"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh(TINY).save_pretrained(folder)
    train_tokenizer(["user: What is 17 + 25?", "user: Which one?"], 300).save_pretrained(folder)
    monkeypatch.setenv("FUGU_HOME", str(tmp_path))
    yield tmp_path
    route._loaded.cache_clear()


@pytest.fixture
def checkpoint(home):
    backbone = route.load_backbone("backbones/some")
    vector = np.random.default_rng(0).standard_normal(3 * backbone.width).astype(np.float32)
    meta = Router(backbone, vector, WORKERS, roles=False, layout="head").meta
    return SimpleNamespace(id="0" * 40, vector=vector, meta=meta | {"backbone": "backbones/some"})


@pytest.fixture
def ledger(home):
    ledger = Ledger(settings().database)
    ledger.create_schema()
    yield ledger
    ledger.close()


def test_what_is_remembered_is_bounded_by_the_settings(home, monkeypatch):
    monkeypatch.setenv("FUGU_MEMO_BYTES", "1000")
    monkeypatch.setenv("FUGU_PREFIX_BYTES", "2000")
    monkeypatch.setenv("FUGU_MEMO_HALF", "true")
    monkeypatch.setenv("FUGU_READ_TOKENS", "300")
    backbone = route.load_backbone("backbones/some")
    assert (backbone._memo.limit, backbone._prefixes.limit, backbone.memo_dtype) == (1000, 2000, torch.bfloat16)
    assert backbone._below(2, ["user: Which one?"])[0].dtype == torch.bfloat16
    assert backbone.reader.most == 300
    assert settings().environment()["FUGU_READ_TOKENS"] == "300"
    assert settings().environment()["FUGU_CUDA_GRAPHS"] == "false"
    assert settings().environment()["FUGU_MEMO_HALF"] == "true"  # and so in every process of this house


def test_a_preset_overrides_the_settings_and_what_it_leaves_out_is_theirs(home, monkeypatch):
    monkeypatch.setenv("FUGU_PREFIX_BYTES", "2000")
    backbone = route.load_backbone("backbones/some", BackbonePlan(lines=1, memo_bytes=500, memo_half=True))
    assert (backbone._memo.limit, backbone._prefixes.limit, backbone.memo_dtype) == (500, 2000, torch.bfloat16)
    assert route.load_backbone("backbones/some", BackbonePlan(lines=1)) is route.load_backbone("backbones/some")


@pytest.mark.skipif(not int8_is_exact(), reason="this CPU, as it is set, has no exact products of int8")
@pytest.mark.parametrize("agree", [1.0, 0.99])
def test_int8_serves_where_it_agrees_on_held_out_questions(checkpoint, ledger, monkeypatch, caplog, agree):
    monkeypatch.setenv("FUGU_PRECISION", "int8")
    monkeypatch.setattr(reduced, "agreement", lambda *_: agree)
    run, seconds = reduced._timed, iter((2.0, 1.0))
    monkeypatch.setattr(reduced, "_timed", lambda *given: (run(*given)[0], next(seconds)))
    monkeypatch.setattr(route, "HELD_OUT", 3)
    monkeypatch.setattr(reduced, "FEWEST", 3)
    caplog.set_level(logging.INFO)
    router = route.serving_router(checkpoint, ledger)
    exact = route.load_backbone("backbones/some")
    assert router.backbone is (exact.in_int8 if agree == 1.0 else exact)
    assert f"on 3 held-out texts {agree:.2%} of the argmaxes agree" in caplog.text


def test_a_cpu_that_has_no_exact_int8_serves_in_float32_and_the_log_says_so(checkpoint, ledger, monkeypatch, caplog):
    monkeypatch.setenv("FUGU_PRECISION", "int8")
    monkeypatch.setattr(backbones, "int8_is_exact", lambda: False)
    monkeypatch.setattr(reduced, "FEWEST", 3)
    router = route.serving_router(checkpoint, ledger)
    assert router.backbone is route.load_backbone("backbones/some") and router.backbone.decoder.exact
    assert [record.message.count("VNNI") for record in caplog.records if "int8" in record.message] == [1]


def test_whoever_loads_a_router_gets_its_vector_folded(home):
    backbone = route.load_backbone("backbones/some")
    size = layout_for(backbone.decoder, "released").length(3, backbone.width)
    vector = (0.1 * np.random.default_rng(0).standard_normal(size)).astype(np.float32)
    meta = Router(backbone, vector, WORKERS, roles=False).meta | {"backbone": "backbones/some"}
    router = route.load_router(SimpleNamespace(id="0" * 40, vector=vector, meta=meta))
    assert router._installed.scaling.static and not router.candidate(vector).scaling.static


def test_int8_is_held_against_float32_on_replies_that_were_paid_for(checkpoint, ledger, monkeypatch):
    """What the checkpoint's own rollouts left in the ledger, of its pool and its question set; else nothing."""
    pool = route.load_pool()
    checkpoint.meta |= {"workers": list(pool.names), "pool": pool.name, "questions": "some"}
    worker, messages = pool.workers[0], ({"role": "user", "content": "Which one?"},)
    scope = scope_of(open_epoch(ledger, pool.name, "some"))
    ask = Ask(scope=scope, worker=worker.name, revision=worker.revision, messages=messages)
    ask = ask.model_copy(update={"sampling": Sampling(seed=seed_for("q", 0))})
    claim(ledger, [CallSpec(ask.identity, scope, worker.name, worker.revision, ask.payload())], "me")
    question = Question(id="q", task="t", messages=messages)
    turn = SimpleNamespace(worker=worker.name, messages=messages, repeat=0)
    assert route._recorded(checkpoint, ledger)(question, turn) is None  # asked, but not answered
    reply = Reply(worker=worker.name, revision=worker.revision, text="This one.").model_dump(mode="json")
    settle(ledger, [Settlement(ask.identity, 1, "me", reply, 0.0, 0.0)])
    assert route._recorded(checkpoint, ledger)(question, turn) == "This one."
    assert route._recorded(checkpoint, ledger)(question.model_copy(update={"id": "other"}), turn) is None
    checkpoint.meta["pool"] = "another"
    assert route._recorded(checkpoint, ledger)(question, turn) is None


def test_the_shipped_evolutions_go_in_two_stages():
    for name in ("first-light", "evidence"):
        plan = load_preset(name).evolution
        assert 0 < plan.subspace_generations < plan.generations and plan.rank
