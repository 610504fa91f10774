"""Conversations that go on at the same time share forwards, and each is answered as it would be alone."""

from __future__ import annotations

import asyncio

import pytest

from models.fugu import microbatch
from models.fugu.loop import LoopOptions
from models.fugu.microbatch import MicroBatcher
from models.fugu.rollout import answer
from models.fugu.router import Router
from models.workers.ask import Reply

WORKERS = ("ant", "bee", "cat")
OPTIONS = LoopOptions(turns=3)
QUESTIONS = [f"question {number}, of all questions the {number}th" for number in range(8)]


@pytest.fixture
def router(load, random_vector):
    backbone = load("tied")
    return Router(backbone, random_vector(backbone, "late", len(WORKERS) + 3, spread=0.3), WORKERS, layout="late")


async def _reply(turn):
    return Reply(worker=turn.worker, revision="1", text=f"{turn.worker} says {len(turn.messages)}")


async def test_concurrent_conversations_share_forwards(router, monkeypatch):
    monkeypatch.setattr(microbatch, "cores", lambda device: 1)
    decider = MicroBatcher(router, wait_s=0.05)
    sizes, run = [], router.resumed_logits
    monkeypatch.setattr(router, "resumed_logits", lambda texts: sizes.append(len(texts)) or run(texts))
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    together = await asyncio.gather(*(answer(each, decider, _reply, OPTIONS) for each in conversations))
    decisions = sum(len(outcome.turns) for outcome in together)
    assert sum(sizes) == decisions and max(sizes) == len(QUESTIONS) and len(sizes) < decisions / 2
    sizes.clear()
    for conversation, outcome in zip(conversations, together, strict=True):
        alone = await answer(conversation, decider, _reply, OPTIONS)
        assert alone.text == outcome.text
        assert [(t.worker, t.role) for t in alone.turns] == [(t.worker, t.role) for t in outcome.turns]
    assert set(sizes) == {1}
