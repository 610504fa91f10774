"""Concurrent requests share forwards, and each gets what it would have got alone."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput, NoWorkerAllowed
from models.fugu import microbatch
from models.fugu.forward.batches import cores, threads
from models.fugu.microbatch import MicroBatcher
from models.fugu.router import Router

WORKERS = ("ant", "bee", "cat")
ROWS = len(WORKERS) + 3
EASY = [f"user: question {i}" for i in range(9)]


@pytest.fixture
def router(load, random_vector) -> Router:
    backbone = load("tied")
    return Router(backbone, random_vector(backbone, "late", ROWS), WORKERS, layout="late")


@pytest.fixture
def batcher(router, monkeypatch):
    monkeypatch.setattr(microbatch, "cores", lambda device: 1)
    batcher = MicroBatcher(router, wait_s=0.05)
    yield batcher
    batcher.close()


@pytest.fixture
def forwards(router, monkeypatch):
    """The texts of each forward."""
    seen: list[list[str]] = []
    for name in ("resumed_logits", "logits_of"):
        run = getattr(router, name)
        monkeypatch.setattr(router, name, lambda texts, *rest, run=run: seen.append(list(texts)) or run(texts, *rest))
    return seen


async def test_concurrent_decisions_share_a_forward(router, batcher, forwards):
    conversations = [[{"role": "user", "content": text}] for text in EASY]
    found = await asyncio.gather(*(batcher.decide(messages) for messages in conversations))
    assert [len(texts) for texts in forwards] == [len(EASY)]
    for decision, messages in zip(found, conversations, strict=True):
        expected = router.decide(messages)
        assert (decision.worker, decision.role) == (expected.worker, expected.role)
        np.testing.assert_allclose(decision.worker_logits, expected.worker_logits, atol=1e-4)
        assert 0 < decision.seconds < 10
    assert max(decision.seconds for decision in found) >= 0.05  # the first one has waited for the others


async def test_candidates_share_a_forward(router, batcher, forwards, random_vector):
    vectors = [random_vector(router.backbone, "late", ROWS, seed=seed) for seed in range(4)]
    candidates = [router.candidate(vector) for vector in vectors]
    found = await asyncio.gather(*(batcher.logits(EASY, candidate) for candidate in candidates))
    assert len(forwards) == 1
    for vector, logits in zip(vectors, found, strict=True):
        np.testing.assert_allclose(logits, router.logits(EASY, vector), atol=1e-4)


def test_threads_may_wait_for_their_answers(router, batcher, forwards):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: batcher.submit([text]).result(timeout=30)[0], EASY))
    assert len(forwards) < len(EASY)
    np.testing.assert_allclose(np.stack(found), router.logits(EASY), atol=1e-4)


async def test_short_requests_do_not_wait_for_the_forward_of_long_ones(batcher, forwards, texts):
    await asyncio.gather(batcher.logits([texts[3]]), batcher.logits(EASY[:1]), batcher.logits(EASY[1:2]))
    assert sorted(map(len, forwards)) == [1, 2] and forwards[-1] == [texts[3]]


async def test_a_request_that_cannot_be_computed_fails_alone(router, batcher):
    bad, good = batcher.logits([""]), batcher.logits(["u"])
    results = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(results[0], BadInput)
    np.testing.assert_allclose(results[1], router.logits(["u"]), atol=1e-4)
    with pytest.raises(NoWorkerAllowed):
        await batcher.decide([{"role": "user", "content": "Hi"}], [])


async def test_a_request_that_is_given_up_is_not_computed(batcher, forwards):
    given_up = asyncio.ensure_future(batcher.logits(EASY[:1]))
    kept = asyncio.ensure_future(batcher.logits(EASY[1:2]))
    await asyncio.sleep(0)  # they begin
    given_up.cancel()
    assert (await kept).shape == (1, ROWS)
    assert forwards == [EASY[1:2]]


async def test_a_batcher_that_nobody_has_any_more_goes_at_once(router):
    batcher = MicroBatcher(router)
    await batcher.logits(EASY)
    batcher.close()
    gone = weakref.ref(batcher)
    del batcher
    assert gone() is None  # without a garbage collection


async def test_a_pass_of_little_work_is_one_forward_on_one_thread(router, forwards, monkeypatch):
    monkeypatch.setattr(microbatch, "cores", lambda device: 4)
    used, run = [], router.resumed_logits
    monkeypatch.setattr(router, "resumed_logits", lambda texts: used.append(torch.get_num_threads()) or run(texts))
    batcher = MicroBatcher(router, wait_s=0.05)
    found = await asyncio.gather(*(batcher.logits([text]) for text in EASY))
    batcher.close()
    assert list(map(len, forwards)) == [len(EASY)] and used == [1]
    np.testing.assert_allclose(np.concatenate(found), router.logits(EASY), atol=1e-4)


async def test_on_a_cpu_a_pass_is_shared_out_among_the_cores(router, forwards, monkeypatch):
    monkeypatch.setattr(microbatch, "cores", lambda device: 2)
    monkeypatch.setattr(microbatch, "LANE_FLOPS", 1.0)
    batcher = MicroBatcher(router, wait_s=0.05)
    found = await asyncio.gather(*(batcher.logits([text]) for text in EASY))
    batcher.close()
    assert sorted(map(len, forwards)) == [4, 5]
    np.testing.assert_allclose(np.concatenate(found), router.logits(EASY), atol=1e-4)


@pytest.mark.parametrize("layout", ["late", "released"])
async def test_what_candidates_have_in_common_is_computed_once_however_many_cores(
    load, random_vector, texts, monkeypatch, layout
):
    backbone = load("untied", memo_bytes=0)  # nothing is handed from lane to lane
    vectors = [random_vector(backbone, layout, ROWS, seed=seed) for seed in range(5)]
    router = Router(backbone, vectors[0], WORKERS, layout=layout)
    monkeypatch.setattr(microbatch, "cores", lambda device: 2)
    monkeypatch.setattr(microbatch, "LANE_FLOPS", 1.0)
    batcher, fed, tokens = MicroBatcher(router, wait_s=0.05), list[str](), backbone.reader.tokens
    monkeypatch.setattr(backbone.reader, "tokens", lambda some: fed.extend(some) or tokens(some))
    asked = [*EASY, texts[1]]
    found = await asyncio.gather(*(batcher.logits(asked, router.candidate(vector)) for vector in vectors))
    batcher.close()
    assert sorted(fed) == sorted(asked)
    for vector, logits in zip(vectors, found, strict=True):
        np.testing.assert_allclose(logits, router.logits(asked, vector), atol=1e-4)


@given(st.lists(st.sampled_from(["", "a", "bb", "c" * 50, "d" * 60]), max_size=30), st.integers(1, 6))
def test_lanes_hold_every_place_once_and_equal_texts_together(texts, most):
    lanes = microbatch._lanes(texts, most)
    assert sorted(place for lane in lanes for place in lane) == list(range(len(texts)))
    assert len(lanes) == max(1, min(most, len(set(texts))))
    assert sum(len({texts[place] for place in lane}) for lane in lanes) == len(set(texts))


def test_a_limit_of_threads_reaches_no_other_thread():
    def number():
        return torch.get_num_threads()

    before = number()
    with ThreadPoolExecutor(1) as lane, ThreadPoolExecutor(2) as others:
        assert others.submit(number).result() == before

        def limited():
            with threads(before + 1):
                return number(), others.submit(number).result(), others.submit(number).result()

        assert lane.submit(limited).result() == (before + 1, before, before)
        assert lane.submit(number).result() == before
    assert cores(torch.device("cuda")) == 1 <= cores(torch.device("cpu"))


async def test_a_pass_is_bounded_by_its_distinct_texts(batcher, forwards, monkeypatch):
    monkeypatch.setattr(microbatch, "GATHERED", sum(map(len, EASY[:4])))
    await asyncio.gather(*(batcher.logits([text]) for text in EASY), *(batcher.logits(EASY[8:]) for _ in range(5)))
    assert [len(texts) for texts in forwards] == [4, 4, 6]
    forwards.clear()
    await asyncio.gather(batcher.logits(EASY), batcher.logits(EASY[:1]))
    assert sorted(len(texts) for texts in forwards) == [1, 9]  # a request is computed whole, however large


async def test_the_wait_is_bounded_and_what_is_waiting_is_answered_at_the_end(router):
    batcher = MicroBatcher(router, wait_s=0.2)
    await asyncio.gather(batcher.logits(EASY[:1]), batcher.logits(EASY[1:2]))
    started = time.perf_counter()
    await batcher.logits(EASY[:1])
    assert 0.2 <= time.perf_counter() - started < 5
    started = time.perf_counter()
    await batcher.logits(EASY[:1])  # the last one was alone, so this one waits for nobody
    assert time.perf_counter() - started < 0.2
    last = batcher.submit(EASY[:2])
    batcher.close()
    assert last.result(timeout=0).shape == (2, ROWS)
    assert (await MicroBatcher(router).logits([])).shape == (0, ROWS)


async def test_a_short_text_overtakes_a_long_one_that_is_under_way(router, monkeypatch):
    batcher, under_way, released = MicroBatcher(router), threading.Event(), threading.Event()
    run, long = router.resumed_logits, "user: " + "x" * microbatch.LONG

    def forward(texts):
        if long in texts:
            under_way.set()
            assert released.wait(20)
        return run(texts)

    monkeypatch.setattr(router, "resumed_logits", forward)
    asked = asyncio.ensure_future(batcher.logits([long]))
    assert await asyncio.to_thread(under_way.wait, 20)
    more = asyncio.ensure_future(batcher.logits([f"{long} and another"]))
    short = await batcher.logits(EASY)
    assert not asked.done() and not more.done()
    released.set()
    np.testing.assert_allclose(short, router.logits(EASY), atol=1e-4)
    np.testing.assert_allclose(await asked, router.logits([long]), atol=1e-4)
    assert (await more).shape == (1, ROWS)
    batcher.close()


@pytest.mark.parametrize(("many", "shares"), [(1, (1, 1)), (2, (1, 1)), (5, (2, 3))])
def test_long_texts_leave_cores_to_short_ones_which_have_all_of_them_otherwise(router, monkeypatch, many, shares):
    monkeypatch.setattr(microbatch, "cores", lambda device: many)
    batcher = MicroBatcher(router)
    assert batcher._left() == many
    batcher._long.busy = True
    assert (batcher._half, batcher._left()) == shares
    batcher.close()
