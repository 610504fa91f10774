"""A head of tasks in the started endpoint decides exactly as it does offline, with and without its fallback."""

from __future__ import annotations

import dataclasses
import os

import httpx
import numpy as np
import pytest
from started_endpoint import endpoint

from models.fugu.forward.backbone import Backbone
from models.fugu.learn.tasks import TaskOptions, fit_tasks
from models.fugu.router import Router
from models.grading.question import Question
from models.house import backbone as house_backbone
from models.ledger import registry
from models.ledger.store import Ledger
from tasks.setup.router import first_texts

pytestmark = pytest.mark.programs

RECIPE = house_backbone.Recipe(layers=2, width=64, heads=2, key_value_heads=1, inner=64, vocabulary=512, lines=64)
WORKERS = ("first", "second", "third")
KINDS = {"sums": "What is {} + {}?", "words": "Say the word number {} of {} backwards.", "years": "In {}, who was {}?"}
GOOD = {"sums": [0.6, 0.9, 0.1], "words": [0.7, 0.2, 0.9], "years": [0.6, 0.3, 0.2]}


def texts_of(kind: str, count: int, seed: int) -> list[str]:
    draws = np.random.default_rng(seed)
    return [KINDS[kind].format(*draws.integers(10, 999, size=2)) for _ in range(count)]


def questions_of(texts: list[str]) -> list[Question]:
    messages = [({"role": "user", "content": text},) for text in texts]
    return [Question(id=f"q{i}", task="t", messages=m, grader="recorded") for i, m in enumerate(messages)]


@pytest.fixture
def served(tmp_path, upstream_url):
    """The environment of a home whose `fugu` is a head of tasks, and the same router in this process."""
    backbone = Backbone.load(house_backbone.make(tmp_path, RECIPE), device="cpu")
    blank = Router(backbone, np.zeros(3 * backbone.width), WORKERS, roles=False, layout="head")
    asked = {kind: texts_of(kind, 60, seed) for seed, kind in enumerate(KINDS)}
    states = backbone.features(first_texts(questions_of([text for kind in asked for text in asked[kind]]), blank))
    labels = np.random.default_rng(3).random((180, 3)) < np.repeat(list(GOOD.values()), 60, axis=0)
    options = TaskOptions(penalties=(0.1,), cautions=(0.0,), quantiles=(0.1,))
    fitted = fit_tasks(states, labels.astype(float), np.repeat(list(GOOD), 60), options)
    router = Router(backbone, fitted.head.numbers(), WORKERS, roles=False, layout="head", form=fitted.form)
    shape = f"model: openai/echo, api_base: {upstream_url}/v1, price: {{}}"
    (tmp_path / "pool.yaml").write_text("workers:\n" + "".join(f"- {{name: {name}, {shape}}}\n" for name in WORKERS))
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.create_schema()
    meta = router.meta | {"backbone": str(backbone.folder.relative_to(tmp_path))}
    checkpoint = registry.save_checkpoint(ledger, name="by task", vector=router.vector, meta=meta)
    registry.promote(ledger, "fugu", {"kind": "router", "checkpoint": checkpoint}, "test")
    registry.promote(ledger, "trinity", {"kind": "worker", "worker": "first"}, "test")
    ledger.close()
    return {**os.environ, "FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml")}, router, fitted


def test_what_is_served_is_what_was_evaluated(served):
    environment, router, fitted = served
    texts = [text for seed, kind in enumerate(KINDS) for text in texts_of(kind, 6, 10 + seed)]
    texts += ["def f(x):\n    return {" * 20, "Où est la bibliothèque ? 图书馆在哪里？", "!"]
    logits = router.logits(first_texts(questions_of(texts), router))
    everywhere = dataclasses.replace(fitted.head, least=fitted.head.least - 2)
    plain = Router(router.backbone, everywhere.numbers(), WORKERS, False, "head", form=fitted.form)
    assert len(set(logits.argmax(axis=1))) > 1
    assert not np.allclose(plain.logits(first_texts(questions_of(texts), router)), logits)  # some fell back
    with endpoint(environment) as url:
        for text, row in zip(texts, logits, strict=True):
            for allowed in (WORKERS, WORKERS[:1] + WORKERS[2:]):
                body = {"model": "fugu", "messages": [{"role": "user", "content": text}]}
                wanted = {"X-Fugu-Trace": "1", "X-Fugu-Workers": ",".join(allowed)}
                reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers=wanted, timeout=60)
                assert reply.status_code == 200, reply.text
                mask = np.isin(WORKERS, allowed)
                best = WORKERS[int(np.where(mask, row, -np.inf).argmax())]
                assert reply.json()["fugu"]["steps"][0]["worker"] == best, reply.text
