"""What a plan is priced with is what its calls reserve; equal steps are two samples."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.conductor.plan.context import shortened
from models.conductor.plan.writers import FixedWriter
from models.conductor.run.request_run import replay
from models.errors import LimitReached, Unfit
from models.workers.ask import Reply, Sampling, Usage, json_bytes, prompt_bytes
from models.workers.pool import Limits as WorkerLimits
from models.workers.pool import Pool, Price, Worker
from models.workers.usage import worst_usd

STEADY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TOOL = {"type": "function", "function": {"name": "wéather", "parameters": {"type": "object"}, "description": "x" * 99}}
SAMPLINGS = (
    Sampling(),
    Sampling(tools=(TOOL,), tool_choice="none", seed=2**62, max_tokens=3),
    Sampling(response_format={"type": "json_object"}, stop=("\n\n", "é"), temperature=0.1),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@pytest.fixture
def pool():
    """A byte in costs as much as a token out, and workers differ in both."""
    workers = tuple(
        Worker(
            name=name,
            model=f"openai/{name}",
            price=Price(input_per_million=price * 1e6, output_per_million=price * 1e6),
            limits=WorkerLimits(max_output_tokens=tokens),
        )
        for name, price, tokens in (("a", 1.0, 5), ("b", 3.0, 40), ("c", 0.5, 200))
    )
    return Pool(name="p", workers=workers)


class Dear:
    """A sender whose every call costs what is reserved for it, and whose replies are longer than any may be shown."""

    def __init__(self, pool, text):
        self.pool, self.text, self.asked = pool, text, []

    async def complete(self, ask):
        self.asked.append(ask)
        worker = self.pool.worker(ask.worker)
        worst = worst_usd(worker, ask.messages, ask.sampling)
        text = self.text * (1 + 8 * worker.limits.max_output_tokens // len(self.text))
        return Reply(worker=ask.worker, revision="1", text=text, cost_usd=worst, usage=Usage(prompt_tokens=1))


@st.composite
def plans(draw):
    steps = []
    for index in range(draw(st.integers(1, 5))):
        earlier = st.lists(st.integers(0, index - 1), unique=True) if index else st.just([])
        subtask = draw(TEXTS.filter(str.strip))
        steps.append((draw(st.integers(0, 2)), subtask, draw(earlier | st.just("all"))))
    return steps


@STEADY
@given(
    steps=plans(),
    question=TEXTS,
    reply=TEXTS.filter(bool),
    sampling=st.sampled_from(SAMPLINGS),
    factor=st.floats(0.2, 1.5),
    recursive=st.booleans(),
)
async def test_a_plan_that_passes_at_a_cap_never_runs_over_it(
    house, steps, question, reply, sampling, factor, recursive
):
    """Whatever is said, whoever sees it: the plan is refused before anything is paid, or every step is asked."""
    sender = house.workers = Dear(house.pool, reply)
    policy = FixedWriter(house.plan(*steps))
    rough = sum(3.0 * (200 + len(question) + len(steps) * 200) for _ in steps)
    request = house.ask(
        uuid4().hex,
        messages=({"role": "user", "content": question},),
        sampling=sampling,
        limits={"max_usd": factor * rough, "depth": 1},
        recursive=recursive,
    )
    try:
        answer = await house.conduct(policy, request)
    except LimitReached:
        assert sender.asked == []
        return
    except Unfit:  # the reply is in no format
        return
    first = answer.trace["rounds"][0]
    if first["fallback"] is None:
        assert {step["state"] for step in first["steps"]} == {"done"}
    for told in answer.trace["rounds"]:  # a later round is held to what is left
        assert {step["state"] for step in told["steps"]} <= {"done"}
    assert answer.cost_usd <= request.limits.max_usd + 1e-6


async def test_what_a_step_is_priced_with_is_at_least_what_it_reserves_and_close_to_it(house):
    """Of a plan that just passes: a cap that is a little lower refuses it, one a little higher asks every step."""
    sender = house.workers = Dear(house.pool, 'é"\n')
    text = house.plan((1, "x" * 500, []), (2, "y", "all"), (0, "z", [0, 1]))
    low, high = 0.0, 1e5
    while high - low > 1.0:
        cap = (low + high) / 2
        sender.asked.clear()
        request = house.ask(uuid4().hex, limits={"max_usd": cap})
        try:
            done = (await house.conduct(text, request)).trace["rounds"][0]["fallback"] is None
        except LimitReached:
            done = False
        low, high = (low, cap) if done else (cap, high)
        if done:
            spent = sum(worst_usd(house.pool.worker(a.worker), a.messages, a.sampling) for a in sender.asked)
    assert spent <= high <= spent + 3.0 * 8  # two replies that cannot be cut to the byte


@STEADY
@given(TEXTS, st.integers(0, 60))
async def test_a_shortened_text_is_the_longest_beginning_that_fits(text, most):
    short = shortened(text, most)
    assert text.startswith(short) and json_bytes(short) - 2 <= most
    assert short == text or json_bytes(text[: len(short) + 1]) - 2 > most


@STEADY
@given(TEXTS, TEXTS, st.sampled_from(SAMPLINGS))
async def test_a_prompt_is_measured_with_all_that_is_sent_and_a_text_adds_its_own_size(before, more, sampling):
    size = prompt_bytes([{"role": "user", "content": before}], sampling)
    assert size >= len(before.encode()) + len(str(sampling.fields().get("tools", "")))
    grown = prompt_bytes([{"role": "user", "content": before + more}], sampling)
    assert grown == size + json_bytes(more) - 2


async def test_without_a_limit_of_money_replies_are_shown_whole(house, workers):
    workers.replies["a"] = "x" * 1000
    await house.conduct(house.plan((0, "x", []), (1, "y", [0])))
    assert "x" * 1000 in str(workers.asked[-1].messages)
    await house.conduct(house.plan((0, "x", []), (1, "y", [0])), house.ask("r2", limits={"max_usd": 1e9}))
    assert "x" * 20 in str(workers.asked[-1].messages) and "x" * 21 not in str(workers.asked[-1].messages)


@pytest.mark.parametrize("seed", [None, 7])
async def test_equal_steps_are_sent_seeds_of_their_own_and_a_replay_reads_the_same(house, workers, seed):
    request = house.ask(sampling=Sampling(seed=seed))
    plan = house.plan((0, "guess", []), (0, "guess", []), (0, "guess", []), (1, "judge", [0, 1, 2]))
    answer = await house.conduct(plan, request)
    seeds = {ask.replicate: ask.sampling.seed for ask in workers.asked}
    assert len({seeds[0], seeds[1], seeds[2]}) == 3
    assert (seeds[0] is None) == (seeds[3] is None) == (seed is None)  # nobody asked for one: single steps get none
    parts = house.parts("")
    assert await replay(parts, request) == answer
    await parts.dispatcher.close()
    await house.conduct(plan, house.ask("r2", sampling=Sampling(seed=seed)))
    assert {ask.replicate: ask.sampling.seed for ask in workers.asked} == seeds  # and another request draws the same


async def test_every_step_of_every_round_follows_the_requests_seed_in_a_way_of_its_own(house, workers):
    request = house.ask(sampling=Sampling(seed=7), recursive=True, limits={"depth": 2})
    await house.conduct(house.plan((0, "x", []), (1, "y", [0])), request)
    assert len({ask.sampling.seed for ask in workers.asked}) == len(workers.asked) == 6
