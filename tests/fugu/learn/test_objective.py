"""End-to-end reward through real house workers and a real ledger: common random numbers, and no call twice."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from models.errors import TransientError, UpstreamUnavailable
from models.fugu import transcript
from models.fugu.forward.layout import layout_for
from models.fugu.learn import schedule
from models.fugu.learn.objective import Objective, Rows, Slot, gumbel, offered
from models.fugu.loop import LoopOptions
from models.fugu.roles import Role
from models.fugu.router import Router
from models.house import handler
from models.house.questions import generate
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from tasks.setup.settings import PROJECT

QUESTIONS = generate(1, {"train": 12}, two_hop_share=0.25)
SLOTS = [Slot(question, repeat) for question in QUESTIONS for repeat in range(2)]


@pytest.fixture(scope="module")
def pool():
    handler.register()
    return Pool.load(PROJECT / "data" / "pools" / "house.yaml")


@pytest.fixture
def counter(tmp_path, monkeypatch):
    path = tmp_path / "asked.jsonl"
    monkeypatch.setenv("FUGU_HOUSE_COUNTER", str(path))
    return path


@pytest.fixture
async def send(ledger, pool, counter):
    dispatcher = Dispatcher(ledger, pool)
    yield dispatcher.ask_all
    await dispatcher.close()


@pytest.fixture
def router(backbones, pool):
    backbone = backbones("tied")
    rows = len(pool.workers) + len(Role)
    head = np.random.default_rng(0).standard_normal(rows * backbone.width)
    return Router.from_vector(backbone, head, pool.names, layout="head")


def objective(router, pool, send, slots=SLOTS, **options):
    return Objective(router, pool, slots, send, scope="measure:1", options=LoopOptions(), **options)


async def test_the_same_vector_has_the_same_score_and_asks_nobody_again(router, pool, send, counter):
    first = await objective(router, pool, send).scores(router.vector, temperature=1.0)
    asked = counter.read_bytes()
    assert await objective(router, pool, send).scores(router.vector, temperature=1.0) == first
    assert counter.read_bytes() == asked
    lines = [json.loads(line) for line in asked.splitlines()]
    assert len({(line["worker"], line["digest"]) for line in lines}) == len(lines)


async def test_candidates_that_choose_alike_cost_one_rollout(router, pool, send):
    asks = []

    async def counted(asked):
        asks.extend(asked)
        return await send(asked)

    part = objective(router, pool, counted)
    first = await part.scores(router.vector, temperature=1.0)
    sent, turns = part.spent.asks, part.spent.turns
    assert turns == sum(len(score.workers) for score in first) >= sent == len(asks)
    assert len({ask.identity for ask in asks}) == len(asks)
    # Twice the head and twice the temperature are the same choices by another vector.
    assert await part.scores(2 * router.vector, temperature=2.0) == first
    assert (part.spent.asks, part.spent.turns) == (sent, 2 * turns)
    await part.scores(-router.vector, temperature=1.0)
    assert part.spent.asks > sent
    assert len({ask.identity for ask in asks}) == len(asks) == part.spent.asks


async def test_candidates_of_a_generation_share_forwards(backbones, random_vector, pool, send, monkeypatch):
    backbone = backbones("tied")
    rows = len(pool.workers) + len(Role)
    vectors = [random_vector(backbone, "late", rows, seed) for seed in range(8)]
    router = Router.from_vector(backbone, vectors[0], pool.names, layout="late")
    passes, run = [], router.logits_of

    def counted(texts, candidates):
        passes.append(len(set(map(id, candidates))))
        return run(texts, candidates)

    monkeypatch.setattr(router, "logits_of", counted)
    part = objective(router, pool, send, SLOTS[:8])
    together = await asyncio.gather(*(part.scores(vector, temperature=1.0) for vector in vectors))
    assert max(passes) > 1  # how many come in time is the machine's affair
    for vector, scores in zip(vectors, together, strict=True):
        assert await objective(router, pool, send, SLOTS[:8]).scores(vector, temperature=1.0) == scores


async def test_a_part_of_the_slots_scores_as_in_the_whole(router, pool, send):
    whole = objective(router, pool, send)
    scores = await whole.scores(router.vector, temperature=1.0)
    for part in (slice(0, 7), slice(7, None)):
        assert await whole.scores(router.vector, temperature=1.0, part=part) == scores[part]
        alone = objective(router, pool, send)
        assert await alone.scores(router.vector, temperature=1.0, part=part) == scores[part]


async def test_texts_that_are_met_are_those_that_the_router_reads(router, pool, send):
    part = objective(router, pool, send, SLOTS[:4])
    texts = await part.met(router.vector, temperature=0.0)
    scores = await part.scores(router.vector, temperature=0.0)
    first = [transcript.text(part.first_transcript(slot)) for slot in SLOTS[:4]]
    assert set(first) <= set(texts)
    assert len(set(texts)) == len(texts) <= sum(len(score.workers) for score in scores)


async def test_a_slots_score_does_not_depend_on_the_other_slots(router, pool, send):
    whole = await objective(router, pool, send).scores(router.vector, temperature=1.0)
    some = [20, 3, 11]
    alone = await objective(router, pool, send, [SLOTS[i] for i in some]).scores(router.vector, temperature=1.0)
    assert alone == [whole[i] for i in some]


async def test_sampling_follows_the_softmax_and_serving_the_argmax(router, pool, send):
    noise = gumbel([Slot(QUESTIONS[0], repeat) for repeat in range(4000)], 1, 3, seed=0)[:, 0]
    logits = np.array([1.0, 0.0, -1.0])
    shares = np.bincount((logits + noise).argmax(axis=1), minlength=3) / 4000
    assert np.allclose(shares, np.exp(logits) / np.exp(logits).sum(), atol=0.03)
    greedy = await objective(router, pool, send).scores(router.vector, temperature=0.0)
    again = await objective(router, pool, send, SLOTS[:2]).scores(router.vector, temperature=0.0)
    assert again == greedy[:2]


async def test_an_outage_is_no_sample(router, pool):
    async def broken(asks):
        return [UpstreamUnavailable("down") for _ in asks]

    with pytest.raises(TransientError):
        await objective(router, pool, broken).scores(router.vector, temperature=0.0)


async def test_role_rows_take_up_the_best_schedule(router, pool, send):
    part = objective(router, pool, send, SLOTS[::2])
    measured = await schedule.best(part, router.vector)
    assert measured[0].reward == max(m.reward for m in measured)
    states, roles = zip(*measured[0].states, strict=True)
    rows = schedule.fit_rows(router.states(states), roles)
    assert list((router.states(states) @ rows.T).argmax(axis=1)) == [int(role) for role in roles]


async def test_candidates_that_move_the_head_alone_share_every_state(backbones, pool, send, monkeypatch):
    backbone = backbones("tied")
    layout = Router.from_vector(
        backbone, np.zeros(layout_for(backbone.decoder, "late").length(9, backbone.width)), pool.names, layout="late"
    )
    draws = np.random.default_rng(0)
    start = 0.1 * draws.standard_normal(len(layout.vector))
    layout.install(start)
    population = np.stack([start] * 4)
    population[:, layout.layout.offsets :] = draws.standard_normal((4, 9 * backbone.width))
    shared, read = objective(layout, pool, send), []
    real = layout.states
    monkeypatch.setattr(layout, "states", lambda texts, under: read.extend(texts) or real(texts, under))
    found = [[s.workers for s in await shared.scores(vector, temperature=1.0)] for vector in population]
    assert read and len(read) == len(set(read))
    monkeypatch.undo()
    for vector, workers in zip(population, found, strict=True):
        layout.install(vector)  # an objective of its own, whose states nobody shares
        alone = objective(layout, pool, send)
        assert [s.workers for s in await alone.scores(vector, temperature=1.0)] == workers


def test_rows_are_kept_within_their_bytes_and_are_right_beyond_them():
    computed = []

    def compute(ids):
        computed.extend(ids.tolist())
        return np.stack([ids, ids**2, -ids], axis=1).astype(np.float32)

    rows = Rows(3, compute, limit=10 * 3 * 4 + 5)
    draws = np.random.default_rng(0)
    for most in (3, 8, 40, 40, 40):
        ids = draws.integers(0, most, 30)
        assert np.array_equal(rows.of(ids), np.stack([ids, ids**2, -ids], axis=1).astype(np.float32))
        assert rows.nbytes <= 10 * 3 * 4
    assert rows.of(np.zeros(0, np.intp)).shape == (0, 3)
    assert len(kept := [i for i in computed if i < 10]) == len(set(kept))
    assert len(over := [i for i in computed if i >= 10]) > len(set(over))


async def test_scores_do_not_hang_on_what_may_be_remembered(backbones, pool, send):
    backbone = backbones("tied")
    length = layout_for(backbone.decoder, "late").length(9, backbone.width)
    start = 0.1 * np.random.default_rng(0).standard_normal(length)
    router = Router.from_vector(backbone, start, pool.names, layout="late")
    rolled_out = []
    for memo_bytes in (0, 5 * 4 * backbone.width, 1 << 20):
        part = objective(router, pool, send, memo_bytes=memo_bytes)
        rolled_out.append(await part.scores(router.vector, temperature=1.0))
        assert part._states.nbytes <= memo_bytes
    assert rolled_out[0] == rolled_out[1] == rolled_out[2]


def test_random_pools_are_a_function_of_question_repeat_and_turn_and_leave_two_workers() -> None:
    masks = offered(SLOTS, 5, 6, 0.5, seed=1)
    assert masks.shape == (len(SLOTS), 5, 6)
    count = masks.sum(axis=2)
    assert count.min() >= 2 and 0.3 < (count == 6).mean() < 0.7
    order = np.random.default_rng(0).permutation(len(SLOTS))
    np.testing.assert_array_equal(offered([SLOTS[i] for i in order], 5, 6, 0.5, seed=1), masks[order])
    assert (offered(SLOTS, 5, 6, 0.5, seed=2) != masks).any()
    assert len(np.unique(masks.reshape(-1, 6), axis=0)) > 10
    assert offered(SLOTS, 5, 6, 0.0, seed=1).all() and offered(SLOTS, 5, 1, 1.0, seed=1).all()
    assert (offered(SLOTS, 5, 2, 1.0, seed=1).sum(axis=2) == 1).all()  # of two workers, either one alone


async def test_in_random_pools_every_candidate_chooses_among_the_same_offered_workers(router, pool, send) -> None:
    part = objective(router, pool, send, random_pools=1.0)
    masks = offered(SLOTS, LoopOptions().turns, len(pool.workers), 1.0, 42)
    whole = await objective(router, pool, send).scores(router.vector, temperature=0.0)
    moved = False
    for vector in (router.vector, -router.vector):
        for slot, score in enumerate(await part.scores(vector, temperature=0.0)):
            assert all(masks[slot, turn, worker] for turn, worker in enumerate(score.workers))
            moved |= score.workers != whole[slot].workers
    assert moved
