"""One request: planned before it is paid, repaired once or replaced, resumed and replayed from the ledger."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from models.conductor.plan.writers import PromptedWriter
from models.conductor.run.drawing import svg
from models.conductor.run.planner import CONDUCTOR, asker
from models.conductor.run.request_run import replay
from models.errors import BadInput, NotFound, UpstreamRefused, WorkflowFailed
from models.ledger.accounts import spend
from models.ledger.workflows import past
from tasks.pages.names import label_of

BAD = "I would rather not."


@dataclass
class Script:
    """A policy that writes these texts, one after another, and keeps what it was asked."""

    texts: list[str]
    asked: list = field(default_factory=list)
    name: str = "script"
    reads_cards: bool = True

    async def write(self, request) -> str:
        self.asked.append(request)
        return self.texts[len(self.asked) - 1]


def texts(ask) -> str:
    return " ".join(str(message["content"]) for message in ask.messages)


async def test_the_plan_is_on_disk_before_a_step_is_paid(house, workers):
    complete, found = workers.complete, []

    async def watched(ask):
        found.append(past(house.ledger, "r").workflows["r/0"].steps)
        return await complete(ask)

    workers.complete = watched
    await house.conduct(house.plan((1, "x", [])))
    assert [step.worker for step in found[0]] == ["b"]


async def test_a_step_that_nobody_reads_is_pruned_before_it_is_paid_with_a_warning(house, workers):
    answer = await house.conduct(house.plan((0, "idle", []), (1, "used", []), (2, "end", [1])))
    assert sorted(ask.worker for ask in workers.asked) == ["b", "c"]
    [told] = answer.trace["rounds"]
    assert [(finding["code"], finding["step"]) for finding in told["findings"]] == [("unread-step", 1)]
    assert [(step["number"], step["subtask"]) for step in told["pruned"]] == [(1, "idle")]


async def test_a_step_goes_by_the_number_that_it_was_written_with_wherever_it_is_told(house, workers):
    workers.replies["c"] = UpstreamRefused("no", 403)
    plan = house.plan((0, "idle", []), (1, "used", []), (0, "also idle", [0]), (2, "end", [1]))
    request_run = house.open(plan).open(house.ask(allowed=("a", "b", "c")))
    answer = await request_run.answer()
    [told] = answer.trace["rounds"]
    assert [(step["number"], step["sees"]) for step in told["steps"]] == [(2, []), (4, [2])]
    assert answer.trace["answering"]["step"] == 4
    assert "Step 2, subtask: used" in texts(workers.asked[-1]) and "Step 4, your subtask: end" in texts(
        workers.asked[-1]
    )
    [workflow_run] = request_run.rounds
    assert [label_of(workflow_run.records[index]).split(":")[0] for index in range(2)] == ["step 2", "step 4"]
    assert "2. b" in svg(workflow_run.records) and "4. " in svg(workflow_run.records)
    workers.replies |= dict.fromkeys("abc", UpstreamRefused("no", 403))
    with pytest.raises(WorkflowFailed, match=r"step 2 .'used'") as failed:
        await house.conduct(plan, house.ask("again"))
    assert failed.value.step == 1


@pytest.mark.parametrize(
    ("written", "code", "step"),
    [
        ("model_id = [0, 0]\nsubtasks = ['x']\naccess_list = [[]]", "unequal-lengths", 2),
        ("model_id = [7]\nsubtasks = ['x']\naccess_list = [[]]", "unknown-model", 1),
        (BAD, "missing-list", None),
    ],
)
async def test_what_speaks_against_a_plan_that_is_replaced_has_a_code_and_a_step(house, workers, written, code, step):
    [told] = (await house.conduct(written)).trace["rounds"]
    assert [(finding["code"], finding["step"]) for finding in told["findings"]] == [(code, step)]
    assert told["fallback"]


async def test_a_plan_that_cannot_be_used_is_repaired_once_and_the_complaint_says_why(house, workers):
    script = Script([house.plan((7, "x", [])), house.plan((0, "x", []))])
    answer = await house.conduct(script)
    assert answer.text == "a to step 0"
    assert script.asked[0].complaint is None
    assert "Model 7" in script.asked[1].complaint and script.asked[1].refused == script.texts[0]
    assert answer.trace["rounds"][0]["texts"] == script.texts


@pytest.mark.parametrize("second", [BAD, "model_id = [1]\nsubtasks = ['x']\naccess_list = [[1]]"])
async def test_without_a_valid_plan_the_routers_best_worker_answers_the_conversation_as_it_stands(
    house, workers, second
):
    answer = await house.conduct(Script([BAD, second]), house.ask(allowed=("a", "b")))
    assert [ask.worker for ask in workers.asked] == ["b"]
    assert list(workers.asked[0].messages) == list(house.ask().messages)
    [told] = answer.trace["rounds"]
    assert told["fallback"] and len(told["complaints"]) == 2


async def test_only_allowed_workers_are_offered_and_asked(house, workers):
    script = Script([house.plan((0, "x", [])), house.plan((2, "x", []))])
    answer = await house.conduct(script, house.ask(allowed=("b", "c")), cards={"b": "facts 0.90", "c": "sums 1.00"})
    assert [(card.ordinal, card.text) for card in script.asked[0].cards] == [(1, "facts 0.90"), (2, "sums 1.00")]
    assert answer.worker == "c"
    assert "may not be asked" in script.asked[1].complaint


async def test_shuffled_ordinals_carry_their_cards_along(house, workers):
    seen = set()
    for seed in range(8):
        script = Script([house.plan((0, "x", []))])
        request = house.ask(f"r{seed}", shuffle=seed)
        answer = await house.conduct(script, request, cards={name: f"skill of {name}" for name in "abc"})
        assert script.asked[0].cards[0].text == f"skill of {answer.worker}"
        seen.add(answer.worker)
    assert seen == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("reads", "cards"), [(False, dict.fromkeys("abc", "units 0.9")), (True, {"a": "units 0.9", "b": "", "c": "x 1"})]
)
async def test_ordinals_are_not_shuffled_where_nothing_tells_who_is_who(house, workers, reads, cards):
    script = Script([house.plan((0, "x", []))] * 2, reads_cards=reads)
    with pytest.raises(BadInput, match="cannot be shuffled") as refused:
        await house.conduct(script, house.ask(shuffle=1), cards=cards)
    assert refused.value.field == "shuffle" and script.asked == workers.asked == []
    assert (await house.conduct(script, house.ask(), cards=cards)).text == "a to step 0"


async def test_a_shuffled_plan_that_is_recorded_goes_on_whoever_conducts_now(house, workers):
    request = house.ask(shuffle=1)
    answer = await house.conduct(Script([house.plan((0, "x", []))]), request, cards=dict.fromkeys("abc", "units 0.9"))
    assert await house.conduct("", request) == answer


async def test_a_prompted_conductor_is_asked_through_the_ledger_and_counted_and_its_repair_is_another_call(
    house, workers
):
    workers.replies["boss"] = [BAD, house.plan((0, "x", []))]
    policy = PromptedWriter(asker("boss"), name="worker:boss")
    answer = await house.conduct(policy)
    assert [(ask.worker, ask.scope, ask.replicate) for ask in workers.asked] == [
        ("boss", "r/0", -1),
        ("boss", "r/0", -2),
        ("a", "r/0", 0),
    ]
    assert (answer.calls, answer.cost_usd, answer.orchestration.total_tokens) == (3, 3.0, 24)
    assert spend(house.ledger, "r/0")["usd"] == 3.0


async def test_a_conductor_that_cannot_be_asked_is_replaced_by_the_router(house, workers):
    workers.replies["boss"] = UpstreamRefused("no key", 401)
    answer = await house.conduct(PromptedWriter(asker("boss")))
    assert answer.worker == "c"
    assert "no key" in answer.trace["rounds"][0]["fallback"]


async def test_a_resumed_request_pays_for_nothing_that_is_settled_and_keeps_its_choices(house, workers):
    workers.replies["a"] = UpstreamRefused("no", 403)
    workers.gates = {1: asyncio.Event()}
    workers.arrived = {1: asyncio.Event()}
    plan = house.plan((0, "x", []), (1, "y", [0]), (2, "z", [1]))
    task = asyncio.create_task(house.conduct(plan))
    await workers.arrived[1].wait()
    task.cancel()  # as a kill would, but for the lease
    await asyncio.gather(task, return_exceptions=True)
    workers.asked.clear()
    workers.gates.clear()
    answer = await house.conduct(Script([]), house.ask())  # no plan is written again
    assert workers.steps() == [1, 2]
    [first, *_] = answer.trace["rounds"][0]["steps"]
    assert (first["worker"], first["tried"]) == ("c", ["a"])
    assert len([ask for ask in workers.asked if ask.worker == "a"]) == 0


async def test_a_settled_reply_whose_step_was_not_yet_recorded_is_read_from_the_ledger(house, workers):
    plan = house.plan((0, "x", []), (1, "y", [0]))
    request_runs = house.open(plan)
    first = await request_runs.open(house.ask()).answer()
    await request_runs.flush()
    with house.ledger.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM steps")
    workers.asked.clear()
    assert await house.conduct(plan) == first
    assert workers.asked == []


async def test_a_replay_gives_the_same_answer_and_sends_and_writes_nothing(house, workers):
    workers.replies["b"] = UpstreamRefused("no", 403)
    plan = house.plan((0, "x", []), (1, "y", [0]), (2, "z", "all"))
    answer = await house.conduct(plan)
    workers.asked.clear()
    before = past(house.ledger, "r")
    parts = house.parts(Script([]))
    assert await replay(parts, house.ask()) == answer
    assert workers.asked == [] and past(house.ledger, "r") == before
    await parts.dispatcher.close()


async def test_a_replay_tells_where_a_context_is_not_the_recorded_one_and_what_the_ledger_lacks(house, workers):
    await house.conduct(house.plan((0, "x", []), (1, "y", [0])))
    parts = house.parts(Script([]))
    other = house.ask(messages=({"role": "user", "content": "another"},))
    with pytest.raises(WorkflowFailed, match="another context"):
        await replay(parts, other)
    with pytest.raises(NotFound, match="no plan"):
        await replay(parts, house.ask("unknown"))
    await parts.dispatcher.close()


async def test_a_replay_of_a_failed_request_fails_as_it_did(house, workers):
    workers.replies |= {name: UpstreamRefused(f"{name} says no", 403) for name in "abc"}
    with pytest.raises(WorkflowFailed) as first:
        await house.conduct(house.plan((0, "x", [])))
    parts = house.parts(Script([]))
    with pytest.raises(WorkflowFailed) as second:
        await replay(parts, house.ask())
    assert str(first.value) == str(second.value)
    await parts.dispatcher.close()


async def test_shown_its_answer_the_conductor_may_accept_it_or_write_another_workflow(house, workers):
    again = house.plan((1, "better", "all"), (2, "blind", []), (0, "end", [0, 1]))
    script = Script([house.plan((0, "x", [])), again, house.plan()])
    answer = await house.conduct(script, house.ask(recursive=True, limits={"depth": 2}))
    assert [request.previous for request in script.asked] == [None, "a to step 0", "a to step 2"]
    assert answer.text == "a to step 2"
    better, blind = (next(ask for ask in workers.asked if ask.scope == "r/1" and ask.worker == w) for w in "bc")
    assert "a to step 0" in texts(better) and "a to step 0" not in texts(blind)
    assert [told["accepted"] for told in answer.trace["rounds"]] == [False, False, True]
    assert answer.calls == 4


@pytest.mark.parametrize(("depth", "recursive", "rounds"), [(0, True, 1), (1, True, 2), (1, False, 1), (3, True, 4)])
async def test_the_depth_bounds_the_rounds(house, workers, depth, recursive, rounds):
    plan = house.plan((0, "x", "all"))
    answer = await house.conduct(plan, house.ask(recursive=recursive, limits={"depth": depth}))
    assert len(answer.trace["rounds"]) == rounds == len({ask.scope for ask in workers.asked})


async def test_a_round_without_a_valid_plan_leaves_the_answer_as_it_is(house, workers):
    answer = await house.conduct(Script([house.plan((0, "x", [])), BAD, BAD]), house.ask(recursive=True))
    assert answer.text == "a to step 0"
    assert answer.trace["rounds"][1]["fallback"]


async def test_the_conductor_may_take_a_step_itself_one_level_deeper_and_its_steps_stay_its_own(house, workers):
    script = Script([house.plan((0, "x", []), (3, "y", []), (2, "z", [0, 1])), house.plan((1, "inner", []))])
    request = house.ask(recursive=True, limits={"depth": 1})
    script.texts += [house.plan()]
    answer = await house.conduct(script, request)
    assert [len(request.cards) for request in script.asked[:2]] == [4, 3]  # inside, it cannot name itself again
    inner = next(ask for ask in workers.asked if ask.scope == "r/0/s1/0")
    assert "y" in texts(inner) and "a to step 0" not in texts(inner)
    last = next(ask for ask in workers.asked if ask.scope == "r/0" and ask.replicate == 2)
    assert "b to step 0" in texts(last)
    steps = answer.trace["rounds"][0]["steps"]
    assert [step["worker"] for step in steps] == ["a", CONDUCTOR, "c"]
    assert steps[1]["conducted"]["rounds"][0]["steps"][0]["worker"] == "b"
    assert (answer.calls, answer.cost_usd) == (3, 3.0)
    parts = house.parts(Script([]))
    assert await replay(parts, request) == answer
    await parts.dispatcher.close()
