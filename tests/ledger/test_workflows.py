"""Plans, steps and tool calls: what a resumed, a continued and a replayed request find."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from models.errors import BadInput
from models.ledger.accounts import in_doubt
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.conversations import finished_steps, known_tools
from models.ledger.journal import Journal
from models.ledger.plans import StoredPlan
from models.ledger.tables import tool_calls
from models.ledger.tries import send
from models.ledger.workflows import (
    StepRow,
    ToolCall,
    conversation_of,
    hand_out,
    past,
    put_step,
    put_tool_calls,
    put_workflow,
    take_results,
)


def plan(*subtasks):
    """As a home of an earlier version holds it, in JSON."""
    steps = [
        {"index": i, "worker": "w", "subtask": text, "planned": {"model": 0, "subtask": text, "access": "all"}}
        for i, text in enumerate(subtasks)
    ]
    finding = {"code": "unread-step", "step": 1, "message": "step 1: nobody reads it", "fatal": False}
    return {
        "policy": "fixed", "prompt": "1", "request": "r", "ordinals": ["w", "(conductor)"], "pruned": steps[:1],
        "fallback": None, "texts": ["…"], "complaints": [], "calls": ["c1"], "findings": [finding], "steps": steps,
        "previous": None, "memory": [{"tools": ["t"], "own": {"w": [["q/0", 0, "c"]]}}], "salt": "ff",
    }  # fmt: skip


BODY = StoredPlan.model_validate(plan("count", "answer"))


def apply(ledger, *changes):
    with ledger.transaction() as connection:
        return [change(connection, ledger.now(connection)) for change in changes]


def tool(id, step=0, workflow="r/0"):
    return ToolCall(id, workflow, step, "c", f"original-{id}", "weather", "{}")


def paid(ledger, scope, text, replicate=0):
    spec = CallSpec(f"{scope}-{text}", scope, "w", "1", {"messages": []}, 0.5)
    [mine] = claim(ledger, [spec], "me")
    settle(ledger, [Settlement(mine.call_id, mine.attempt, "me", {"text": text}, 0.25, 1.0)])
    return mine.call_id


def test_a_plan_keeps_its_json_key_by_key_and_what_a_later_version_wrote():
    written = {**plan("count", "answer"), "later": [1]}
    assert json.dumps(StoredPlan.model_validate(written).body) == json.dumps(written)


def test_the_first_plan_of_a_workflow_stands(ledger):
    [first] = apply(ledger, put_workflow(ledger, "r/0", "r", "c", BODY))
    [second] = apply(ledger, put_workflow(ledger, "r/0", "r", "c", BODY.model_copy(update={"steps": ()})))
    assert first == second == BODY == past(ledger, "r").workflows["r/0"]


def test_the_past_holds_plans_steps_tools_replies_and_what_they_cost(ledger):
    call = paid(ledger, "r/0", "three")
    claim(ledger, [CallSpec("open", "r/0", "w", "1", {}, 0.5)], "me")
    row = StepRow("done", "w", ("v",), ({"call": call, "worker": "w", "tools": []},))
    apply(ledger, put_workflow(ledger, "r/0", "r", "c", BODY), put_step(ledger, "r/0", 1, row))
    apply(ledger, put_tool_calls(ledger, [tool("a")], 60))
    found = past(ledger, "r")
    assert found.workflows["r/0"] == BODY
    assert found.steps == {("r/0", 1): row}
    assert found.tools == {"a": tool("a")}
    assert found.calls[call].reply == {"text": "three"}
    assert found.calls[call].began <= found.calls[call].ended and set(found.planned) == {"r/0"}
    assert (found.usd, found.tries) == (0.75, 2)  # what is in doubt counts at its worst
    assert past(ledger, "other").workflows == {}


def test_calls_in_flight_are_in_doubt_wherever_they_belong_to_the_request_also_before_there_is_a_plan(ledger):
    rounds = StoredPlan.model_validate(plan("x", "y"))
    apply(ledger, put_workflow(ledger, "r/0", "r", "c", rounds), put_workflow(ledger, "r/0/s1/0", "r", "p", rounds))
    mine = {"r/0", "r/1", "r/0/s0/0", "r/0/s1/0", "r/0/s1/1", "r/0/s1/0/s0/0"}
    for scope in mine | {"r2/0", "r/2", "R/0", "rr/0", "q/r/0", "r"}:
        claim(ledger, [CallSpec(f"lost {scope}", scope, "w", "1", {}, 0.5)], "dead", lease_s=0)
        send(ledger, [(f"lost {scope}", 1)], "dead", lease_s=0)
        claim(ledger, [CallSpec(f"waiting {scope}", scope, "w", "1", {}, 0.5)], "dead", lease_s=0)
    assert {row["scope"] for row in in_doubt(ledger, "r")} == mine
    assert set(past(ledger, "r").scopes) >= mine and past(ledger, "r").tries == len(mine)
    assert json.loads(json.dumps(in_doubt(ledger, "r")))[0]["worst_usd"] == 0.5
    assert [row["scope"] for row in in_doubt(ledger, "other")] == []


def test_the_newest_row_of_a_step_stands(ledger):
    apply(ledger, put_step(ledger, "r/0", 0, StepRow("running", "v")))
    apply(ledger, put_step(ledger, "r/0", 0, StepRow("done", "w", ("v",))))
    apply(ledger, put_workflow(ledger, "r/0", "r", "c", BODY))
    assert past(ledger, "r").steps["r/0", 0] == StepRow("done", "w", ("v",))


def test_tool_results_come_back_together_once_and_the_same_again_changes_nothing(ledger):
    apply(ledger, put_tool_calls(ledger, [tool("a"), tool("b", 1)], 60), hand_out(["a", "b"], "r"))
    with pytest.raises(BadInput, match="'b' is missing"):
        take_results(ledger, {"a": "sun"})
    assert take_results(ledger, {"a": "sun", "b": "rain"}) == "r"
    assert take_results(ledger, {"b": "rain", "a": "sun"}) == "r"
    with pytest.raises(BadInput, match="another result"):
        take_results(ledger, {"a": "sun", "b": "snow"})
    apply(ledger, put_workflow(ledger, "r/0", "r", "c", BODY))
    assert {call.result for call in past(ledger, "r").tools.values()} == {"sun", "rain"}


def test_unknown_foreign_and_expired_tool_calls_are_refused(ledger):
    apply(ledger, put_tool_calls(ledger, [tool("a"), tool("b"), tool("kept")], 60))
    apply(ledger, hand_out(["a"], "r"), hand_out(["b"], "s"))
    for results, match in [({}, "no tool result"), ({"x": ""}, "'x'"), ({"kept": ""}, "'kept'")]:
        with pytest.raises(BadInput, match=match):
            take_results(ledger, results)
    with pytest.raises(BadInput, match="different answers"):
        take_results(ledger, {"a": "", "b": ""})
    with ledger.transaction() as connection:
        connection.execute(update(tool_calls).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    with pytest.raises(BadInput, match="expired"):
        take_results(ledger, {"a": ""})


def test_whatever_a_worker_or_a_client_says_can_be_kept(ledger):
    odd = ToolCall("a", "r/0", 0, "c", "o" * 3000, "name", "{\0\ud800}")
    apply(ledger, put_workflow(ledger, "r/0", "r", "c", BODY), put_tool_calls(ledger, [odd], 60), hand_out(["a"], "r"))
    for _ in range(2):
        assert take_results(ledger, {"a": "sun\0\udfff"}) == "r"
    [kept] = past(ledger, "r").tools.values()
    assert (kept.original, kept.arguments, kept.result) == ("o" * 3000, "{\ufffd\ufffd}", "sun\ufffd\ufffd")


def test_a_tool_call_is_handed_out_once_and_names_its_conversation(ledger):
    apply(ledger, put_tool_calls(ledger, [tool("a")], 60), hand_out(["a"], "r"), hand_out(["a"], "s"))
    assert take_results(ledger, {"a": "sun"}) == "r"
    assert conversation_of(ledger, ["x", "a"]) == "c"
    assert conversation_of(ledger, ["x"]) is None


def test_a_conversation_remembers_results_and_finished_steps_of_other_workflows_only(ledger):
    for request in ("q", "r"):
        call = paid(ledger, f"{request}/0", f"reply of {request}")
        turns = ({"call": call, "worker": "w", "tools": []},)
        apply(
            ledger,
            put_workflow(ledger, f"{request}/0", request, "c", BODY),
            put_step(ledger, f"{request}/0", 1, StepRow("done", "w", (), turns)),
            put_tool_calls(ledger, [tool(f"of {request}", workflow=f"{request}/0"), tool(f"no {request}")], 60),
            hand_out([f"of {request}"], request),
        )
        take_results(ledger, {f"of {request}": "sun"})
    [step] = finished_steps(ledger, "c", "r/0", ["w", "v"])
    assert (step.worker, step.subtask, step.reply) == ("w", "answer", "reply of q")
    assert [call.id for call in known_tools(ledger, "c", "r/0")] == ["of q"]
    assert finished_steps(ledger, "c", "r/0", ["v"]) == finished_steps(ledger, "d", "", ["w"]) == []


async def test_a_journal_writes_in_order_and_one_bad_change_harms_no_other(ledger):
    journal = Journal(ledger)
    told = []
    good = [journal.put(lambda connection, now, n=n: told.append(n) or n) for n in range(3)]
    bad = journal.put(lambda connection, now: 1 / 0)
    last = journal.put(put_workflow(ledger, "r/0", "r", "c", BODY))
    assert [await each for each in good] == [0, 1, 2]
    assert await last == BODY
    with pytest.raises(ZeroDivisionError):
        await bad
    await asyncio.gather(journal.close())
    assert past(ledger, "r").workflows == {"r/0": BODY}
