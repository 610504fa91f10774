"""Rollouts are remembered by their choices: what one candidate met, no other asks for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from models.fugu.learn.tree import Choices, Chosen, Tree
from models.fugu.loop import LoopOptions, Turn, loop
from models.fugu.roles import Role
from models.workers.ask import Reply

WORKERS = ("ant", "bee", "cat")
CONVERSATIONS = [[{"role": "user", "content": f"question {i}"}] for i in range(6)]
OPTIONS = LoopOptions(turns=4)


def say(slot: int, turn: Turn) -> str:
    """A function of the slot and of what the worker is sent, as a seeded worker's reply is."""
    if turn.role is Role.VERIFIER:
        return "ACCEPT" if (slot + turn.worker_index) % 2 else "REJECT"
    return f"{turn.worker} on {slot}, {len(turn.messages[0]['content'])}"


class Workers:
    def __init__(self):
        self.asked = []

    async def send(self, asked):
        self.asked += [(slot, turn.worker, turn.role, str(turn.messages)) for slot, turn in asked]
        return [Reply(worker=turn.worker, revision="1", text=say(slot, turn), cost_usd=0.5) for slot, turn in asked]


def chooser(seed):
    """A policy of its own per seed: (slot, turn) -> worker and role."""
    table = np.random.default_rng(seed).integers(3, size=(2, len(CONVERSATIONS), OPTIONS.turns))
    return lambda states, slots, turn: Choices(*table[:, slots, turn])


def alone(seed, slot):
    """The same rollout by the loop itself."""
    choose = chooser(seed)
    steps = loop(CONVERSATIONS[slot], len(WORKERS), OPTIONS)
    next(steps)
    try:
        for turn in range(OPTIONS.turns):
            workers, roles = choose(None, np.array([slot]), turn)
            asked = steps.send(Chosen(WORKERS[workers[0]], int(workers[0]), Role(int(roles[0]))))
            steps.send(say(slot, asked))
    except StopIteration as end:
        return end.value
    raise AssertionError("the loop goes on after its budget")


@pytest.fixture
def tree():
    return Tree(CONVERSATIONS, WORKERS, OPTIONS)


@pytest.mark.parametrize("seed", range(8))
async def test_a_walk_ends_where_the_loop_does_whoever_walked_before(tree, seed):
    workers, slots = Workers(), np.arange(len(CONVERSATIONS))
    for other in range(seed):
        await tree.walk(slots, chooser(other), workers.send)
    for slot, end in zip(slots, await tree.walk(slots, chooser(seed), workers.send), strict=True):
        expected, reached = alone(seed, slot), tree.ends[end]
        assert (reached.slot, reached.text) == (slot, expected.text)
        assert reached.workers == tuple(turn.worker_index for turn in expected.turns)
        assert reached.roles == tuple(turn.role for turn in expected.turns)
        assert reached.cost_usd == 0.5 * len(expected.turns)


async def test_the_same_choices_ask_nobody_again(tree):
    workers, slots = Workers(), np.arange(len(CONVERSATIONS))
    first = await tree.walk(slots, chooser(1), workers.send)
    asked = list(workers.asked)
    assert np.array_equal(await tree.walk(slots, chooser(1), workers.send), first)
    assert workers.asked == asked


async def test_choices_that_the_loop_takes_for_the_same_turn_are_asked_once(tree):
    """There is nothing to verify yet, so that a VERIFIER becomes SOLVER."""
    workers, slots = Workers(), np.arange(2)
    for role in (Role.VERIFIER, Role.SOLVER):
        await tree.walk(slots, lambda states, slots, turn, role=role: _all(len(slots), role, turn), workers.send)
    first = [role for _, _, role, messages in workers.asked if "Earlier thought 0:" not in messages]
    assert [role for role in first if role is Role.SOLVER] == [Role.SOLVER] * 2


def _all(count, role, turn):
    return Choices(np.zeros(count, int), np.full(count, int(role if turn == 0 else Role.VERIFIER)))


async def test_a_part_of_the_slots_walks_alone(tree):
    workers = Workers()
    whole = await tree.walk(np.arange(6), chooser(3), workers.send)
    part = await Tree(CONVERSATIONS, WORKERS, OPTIONS).walk(np.array([4, 1]), chooser(3), workers.send)
    assert len(part) == 2 and len(whole) == 6


async def test_candidates_that_walk_at_the_same_time_explore_every_choice_once(tree):
    workers, slots = Workers(), np.arange(len(CONVERSATIONS))

    async def slowly(asked):
        await asyncio.sleep(0.01)  # the other walks come to the same choice meanwhile
        return await workers.send(asked)

    walks = await asyncio.gather(*(tree.walk(slots, chooser(seed), slowly) for seed in (3, 3, 3)))
    once = Workers()
    await Tree(CONVERSATIONS, WORKERS, OPTIONS).walk(slots, chooser(3), once.send)
    assert workers.asked == once.asked
    for seed, ends in zip((3, 3, 3), walks, strict=True):
        assert [tree.ends[end].text for end in ends] == [alone(seed, slot).text for slot in slots]


async def test_a_candidate_goes_on_where_the_one_it_waited_for_failed(tree):
    workers, slots, calls = Workers(), np.arange(len(CONVERSATIONS)), 0

    async def failing_once(asked):
        nonlocal calls
        calls += 1
        first = calls == 1
        await asyncio.sleep(0.01)  # the other walks come to the same choice meanwhile
        if first:
            raise ConnectionError
        return await workers.send(asked)

    walks = (tree.walk(slots, chooser(4), failing_once) for _ in range(3))
    walked = await asyncio.gather(*walks, return_exceptions=True)
    failed = [ends for ends in walked if isinstance(ends, BaseException)]
    assert [type(error) for error in failed] == [ConnectionError]  # whoever came first
    for ends in walked:
        if isinstance(ends, BaseException):
            continue
        assert [tree.ends[end].text for end in ends] == [alone(4, slot).text for slot in slots]


async def test_without_roles_a_rollout_is_one_ask():
    workers = Workers()
    tree = Tree(CONVERSATIONS, WORKERS, LoopOptions(roles=False))
    ends = await tree.walk(np.arange(6), lambda states, slots, turn: Choices(slots % 3, None), workers.send)
    assert [tree.ends[end].workers for end in ends] == [(0,), (1,), (2,)] * 2
    assert all(tree.ends[end].roles == () for end in ends)
    assert len(workers.asked) == 6
