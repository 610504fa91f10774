"""What is paid by an evolution itself, what its page says of that and of its generations, and vectors that cannot be
rolled out."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from types import SimpleNamespace

import pytest
from prefect.logging import disable_run_logger

from models.errors import BadInput, UpstreamUnavailable
from models.fugu.learn.fitness import RolloutScore, Weights
from models.ledger.accounts import paid_by
from models.ledger.budgets import open_budget
from models.workers.ask import Ask, Reply
from models.workers.client import Chunk
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Worker
from models.workers.retry import RetryPolicy
from tasks import candidate
from tasks.candidate import roll_out, score_candidate
from tasks.pages import evolution
from tasks.pages.evolution import NOTE, PARENT, EvolutionPage, plot, table
from tasks.pages.report import Progress
from tasks.setup.scoring import Scoring

WORKERS = ("ant", "bee")
SCOPE = "measure:1"
BUDGETS = ("flow:payer", "flow:other")


def ask(text):
    return Ask(scope=SCOPE, worker="ant", revision="1", messages=({"role": "user", "content": text},))


class Upstream:
    """A dollar a reply; it is down for those who say so."""

    async def complete(self, asked):
        if asked.messages[0]["content"] == "down":
            raise UpstreamUnavailable("down")
        return Reply(worker="ant", revision="1", text="well", cost_usd=1.0)

    async def stream(self, asked):
        yield Chunk("well")
        yield Chunk(reply=await self.complete(asked))


@pytest.fixture
async def sessions(ledger):
    """Sessions on one ledger: flow runs beside one another."""
    pool = Pool(name="two", workers=tuple(Worker(name=name, model=f"openai/{name}", revision="1") for name in WORKERS))
    opened = [
        SimpleNamespace(
            ledger=ledger, dispatcher=Dispatcher(ledger, pool, Upstream(), budget=name, retry=RetryPolicy(tries=1))
        )
        for name in BUDGETS
    ]
    for name in BUDGETS:
        open_budget(ledger, name, 100.0)
    yield opened
    for session in opened:
        await session.dispatcher.close()


async def test_a_run_counts_what_it_paid_itself(sessions):
    payer, other = (session.dispatcher for session in sessions)
    await other.ask_all([ask("known"), ask("known too")])
    assert isinstance((await payer.ask_all([ask("known"), ask("new"), ask("down")]))[2], UpstreamUnavailable)
    await other.ask_all([ask(f"a label {i}") for i in range(5)])  # a refresh in the same scope, meanwhile
    await payer.ask(ask("another"))
    for text in ("known too", "streamed", "streamed"):
        async with aclosing(payer.stream(ask(text))) as chunks:
            assert [chunk async for chunk in chunks][-1].reply.text == "well"
    with pytest.raises(UpstreamUnavailable):
        await payer.ask(ask("down"))
    assert paid_by(sessions[0].ledger, BUDGETS[0], SCOPE) == (3, 3.0)
    assert paid_by(sessions[0].ledger, BUDGETS[1], SCOPE) == (7, 7.0)


async def test_candidates_that_ask_the_same_at_once_pay_it_once(sessions):
    payer = sessions[0].dispatcher
    await asyncio.gather(*(payer.ask_all([ask("same"), ask(f"own {i}")]) for i in range(3)))
    assert paid_by(sessions[0].ledger, BUDGETS[0], SCOPE) == (4, 4.0)


def row(generation, kept, roles=(0.5, 0.25, 0.25), **others):
    return {
        "generation": generation,
        "stage": "every parameter",
        "sigma": 0.912345,
        "fitnesses": [0.1, 0.2],
        "best": 0.61 + generation / 100,
        "mean": 0.5 + generation / 100,
        "parent": 0.55 + generation / 100,
        "kept": kept,
        "shares": [0.996, 0.004],
        "roles": list(roles),
        "turns": 2.345,
        "rollouts": 100,
        **others,
    }


def page(rows=(), turns=1000, calls=250, usd=1.5, generations=5):
    opened = EvolutionPage("house-1", WORKERS, lambda: (calls, usd), generations, 0.5, Progress(None, generations))
    opened.turns = turns
    opened.rows.extend(rows)
    return opened


def test_the_page_says_how_good_how_far_what_it_cost_and_how_long_it_takes():
    opened = page([row(1, True), row(2, False)])
    opened.shown = 2
    said, text = opened.happened(240.0), "\n".join(opened.parts(b"<svg/>", *opened.paid()))
    assert said.startswith("Generation 2 of 5 (every parameter): the best parent so far is of generation 1, with 0.560")
    assert "where the start has 0.500. About 6 min left" in said
    assert "run house-1" in text
    assert "data:image/svg+xml;base64,PHN2Zy8+" in text
    assert "1,000 turns of rollouts, 250 calls paid, 1.5000 USD; 750 calls saved (75.0%)" in text
    assert table(opened.rows, 0.5, WORKERS) in text and NOTE in text
    assert "with all of their rollouts" in NOTE and f"`{PARENT}`" in NOTE


def test_after_a_resume_the_time_left_is_judged_by_what_this_run_has_told():
    opened = page([row(1, True), row(2, False), row(3, False)])
    opened.shown = 1  # two were told by a run that was killed
    assert "About 60 min left" in opened.happened(1800.0)


def test_at_its_end_the_page_says_what_to_do_next():
    assert "no parent was better on validation than the start (0.500). `compare-pool/" in page(
        [row(1, False)], generations=1
    ).happened(1.0)


def test_a_page_before_any_rollout_saves_no_share_of_them():
    parts = page([row(1, False)], turns=0, calls=0, usd=0.0).parts(b"", 0, 0.0)
    assert "0 turns of rollouts, 0 calls paid, 0.0000 USD; 0 calls saved, because" in parts[1]


def test_the_table_has_the_newest_first_and_the_start_last():
    heads, _, newest, oldest, start = table([row(1, True), row(2, False)], 0.5, WORKERS).splitlines()
    assert heads == f"| generation | best | mean | {PARENT} | kept | σ | turns | workers | roles |"
    shared = "| 0.912 | 2.35 | ant 100% | SOLVER 50%, THINKER 25%, VERIFIER 25% |"
    assert oldest == f"| 1 | 0.6200 | 0.5100 | 0.5600 | yes {shared}"
    assert newest == f"| 2 | 0.6300 | 0.5200 | 0.5700 |  {shared}"
    assert start.startswith("| 0 | | | 0.5000 | yes |")


def test_without_roles_the_table_and_the_plot_leave_them_out():
    rows = [row(1, True, (0.0, 0.0, 0.0)), row(2, False, (0.0, 0.0, 0.0))]
    assert table(rows, 0.5, WORKERS).splitlines()[2].endswith("| ant 100% |  |")
    picture = plot(rows, 0.5, WORKERS)
    assert picture.startswith(b"<?xml") and plot(rows, 0.5, WORKERS) == picture


def test_the_plot_has_a_white_ground_and_whole_generations():
    """On a dark page black on nothing cannot be read; there is no half of a generation."""
    drawn = plot([row(1, True), row(2, False)], 0.5, WORKERS).decode()
    assert 'id="patch_1"' in drawn and "fill: #ffffff" in drawn.split('id="patch_1"')[1][:300]
    below = drawn.split('id="axes_4"')[1].split('id="matplotlib.axis_8"')[0]
    assert [words.strip() for words in re.findall(r"<!--(.+?)-->", below)] == ["0", "1", "2", "generation"]


async def test_told_rows_are_taken_up_without_a_page_and_each_new_one_makes_it_anew(monkeypatch):
    written, shown = {}, []

    async def publish(key, happened, parts):
        shown.append("\n".join([happened, *parts]))

    async def added(self, count):
        self.done += count

    monkeypatch.setattr(evolution, "write_report", written.__setitem__)
    monkeypatch.setattr(evolution, "publish", publish)
    monkeypatch.setattr(Progress, "add", added)
    opened = page()
    await opened.add(row(1, True), show=False)
    assert not shown and not written
    await opened.add(row(2, False))
    await opened.add(row(3, True))
    assert [text.split(":")[0] for text in shown] == [
        "Generation 2 of 5 (every parameter)",
        "Generation 3 of 5 (every parameter)",
    ]
    assert "| 1 | 0.6200" in shown[-1] and opened.progress.done == 3 and opened.shown == 2
    assert written["evolution.svg"].startswith("<?xml")


class Rolled:
    """An objective on which one vector cannot be rolled out, and another one breaks something else."""

    slots = (None,) * 8
    pool = SimpleNamespace(workers=WORKERS)
    options = SimpleNamespace(turns=5)

    async def scores(self, vector, *, temperature, part=slice(None)):
        if vector < 0:
            raise BadInput("sum to -8.426", "vector" if vector == -1 else "messages")
        return [RolloutScore(float(vector), (0,)) for _ in self.slots[part]]


async def test_a_vector_that_cannot_be_rolled_out_has_no_rollouts_and_other_errors_stay(monkeypatch):
    scoring = Scoring(Rolled(), Weights(), 1.0, 1, "m", asyncio.Semaphore(2))
    monkeypatch.setattr(candidate, "scoring_of", lambda recipe: scoring)
    with disable_run_logger():
        assert (await score_candidate.fn(None, 0.5, "m", 0, 4, 1, 0)).rollouts == 4
        assert (await score_candidate.fn(None, -1.0, "m", 0, 4, 1, 0)).rollouts == 0
        assert await roll_out.fn("a parent", None, -1.0) == []
        with pytest.raises(BadInput):
            await score_candidate.fn(None, -2.0, "m", 0, 4, 1, 0)
        with pytest.raises(BadInput, match="differ between"):
            await score_candidate.fn(None, 0.5, "another", 0, 4, 1, 0)
