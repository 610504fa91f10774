"""A client's tools inside a workflow: the calls of each step's worker, and results that find their step by id alone."""

from __future__ import annotations

import json

import openai
import pytest
from sqlalchemy import update

from models.ledger.requests import get_request
from models.ledger.tables import tool_calls

ADA = {"kind": "worker", "worker": "ada"}
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
TRACE = {"X-Fugu-Trace": "1"}


@pytest.fixture
def here(house, plan):
    """ada (one call) and bob (two at once) side by side, then cy, who sees both and calls nothing."""
    with house(fugu=ADA, plan=plan(("ada", "first", []), ("bob", "second", []), ("cy", "third", "all"))) as here:
        yield here


def ask(here, messages, tools=(TOOL,), **more):
    given = {"tools": list(tools)} if tools else {}
    return here.client.chat.completions.create(model="fugu-ultra", messages=messages, **given, **more)


def ran(calls):
    """The tools' results: which arguments each call had."""
    return [{"role": "tool", "tool_call_id": c.id, "content": f"saw {c.function.arguments}"} for c in calls]


def turn(answer):
    return answer.choices[0].message.model_dump(exclude_none=True)


def test_calls_of_two_steps_come_back_to_their_own_steps(here, upstream, ledger):
    asked = ask(here, HELLO)
    [choice] = asked.choices
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert [json.loads(call.function.arguments)["by"] for call in calls] == ["ada", "bob", "bob"]
    assert len({call.id for call in calls}) == 3 and not {call.id for call in calls} & {"call_0", "call_1"}
    before = len(upstream.seen)
    answer = ask(here, [*HELLO, turn(asked), *ran(calls)], extra_headers=TRACE)
    assert "cy: Step 3" in answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
    ada, bob, cy = sorted(upstream.seen[before:], key=lambda body: body["model"])
    for body, name, count in ((ada, "ada", 1), (bob, "bob", 2)):
        results = [message for message in body["messages"] if message["role"] == "tool"]
        # The worker's own ids, its own arguments, and nobody else's.
        assert [result["tool_call_id"] for result in results] == [f"call_{n}" for n in range(count)]
        assert all(f'"by": "{name}"' in result["content"] for result in results)
    assert "ada: saw" in str(cy["messages"]) and "bob: saw" in str(cy["messages"])
    assert get_request(ledger, asked.id)["status"] == "awaiting-tools"
    assert get_request(ledger, answer.id)["continues"] == asked.id


def test_the_ids_alone_find_the_workflow(here, upstream):
    calls = ask(here, HELLO).choices[0].message.tool_calls
    answer = ask(here, ran(reversed(calls)))
    assert "cy: Step 3" in answer.choices[0].message.content


def test_a_client_that_does_not_send_its_tools_again_is_gone_on_with_and_its_workers_keep_them(here, upstream):
    asked = ask(here, HELLO, tool_choice="required")
    before = len(upstream.seen)
    answer = ask(here, [*HELLO, turn(asked), *ran(asked.choices[0].message.tool_calls)], tools=())
    assert answer.choices[0].finish_reason == "stop" and "cy: Step 3" in answer.choices[0].message.content
    assert [body["tools"] for body in upstream.seen[before:]] == [[TOOL]] * 3
    assert not any("tool_choice" in body for body in upstream.seen[before:])
    results = [m for body in upstream.seen[before:] for m in body["messages"] if m["role"] == "tool"]
    assert len(results) == 3


def test_tool_calls_are_streamed(here, upstream):
    chunks = list(ask(here, HELLO, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 1, 2] and all(
        call.id and call.function.name == "look" for call in calls
    )
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    whole = ask(here, ran(calls))
    assert "cy: Step 3" in whole.choices[0].message.content


def test_results_that_lack_some_are_refused_and_may_be_sent_again(here, upstream):
    asked = ask(here, HELLO)
    calls = asked.choices[0].message.tool_calls
    with pytest.raises(openai.BadRequestError, match="missing"):
        ask(here, [*HELLO, turn(asked), *ran(calls[:2])])
    assert "cy: Step 3" in ask(here, [*HELLO, turn(asked), *ran(calls)]).choices[0].message.content


def test_unknown_repeated_and_expired_ids_are_refused(here, upstream, ledger):
    asked = ask(here, HELLO)
    results = ran(asked.choices[0].message.tool_calls)
    unknown = {"role": "tool", "tool_call_id": "call_0", "content": "x"}
    picture = [{"type": "image_url", "image_url": {"url": "data:"}}]
    for wrong, words in (
        ([unknown], "no tool call"),
        ([*results, results[0]], "second result"),
        ([{**results[0], "content": picture}, *results[1:]], "text"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            ask(here, [*HELLO, turn(asked), *wrong])
    with ledger.transaction() as connection:
        connection.execute(update(tool_calls).values(expires_at=tool_calls.c.created_at))
    with pytest.raises(openai.BadRequestError, match="expired"):
        ask(here, [*HELLO, turn(asked), *results])
    assert len(upstream.seen) == 2


def test_the_limits_of_the_first_request_go_on_counting(here, upstream):
    asked = ask(here, HELLO, extra_body={"fugu": {"max_calls": 5}})
    results = ran(asked.choices[0].message.tool_calls)
    with pytest.raises(openai.BadRequestError, match="max_calls"):
        ask(here, results, extra_body={"fugu": {"max_calls": 50}})
    answer = ask(here, results, extra_body={"fugu": {"max_calls": 5}}, extra_headers=TRACE)
    assert answer.fugu["calls"] == 3  # two had been made before


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("fugu.allowed_workers", {"allowed_workers": ["ada", "bob"]}),
        ("fugu.conversation", {"conversation": "another"}),
        ("fugu.recursive", {"recursive": True}),
        ("fugu.shuffle", {"shuffle": 7}),
        ("fugu.depth", {"depth": 2}),
    ],
)
def test_a_wish_that_is_not_the_first_requests_is_refused_by_its_name_and_keeps_no_result(here, upstream, field, wish):
    first = {"allowed_workers": ["ada", "bob", "cy", "echo"], "conversation": "talk"}
    asked = ask(here, HELLO, extra_body={"fugu": first})
    results = ran(asked.choices[0].message.tool_calls)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(here, results, extra_body={"fugu": wish})
    assert refused.value.param == field and len(upstream.seen) == 2
    others = [{**result, "content": "another"} for result in results]  # nothing was kept of the refused ones
    same = {**first, "allowed_workers": first["allowed_workers"][::-1], "recursive": False}
    assert "cy: Step 3" in ask(here, others, extra_body={"fugu": same}).choices[0].message.content


def test_a_header_that_names_other_workers_is_refused_too(here, upstream):
    asked = ask(here, HELLO)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(here, ran(asked.choices[0].message.tool_calls), extra_headers={"X-Fugu-Workers": "ada, bob, cy"})
    assert refused.value.param == "X-Fugu-Workers"


def test_results_of_a_finished_workflow_are_history_of_the_same_conversation(here, upstream, ledger):
    asked = ask(here, HELLO)
    past = [*HELLO, turn(asked), *ran(asked.choices[0].message.tool_calls)]
    done = ask(here, past)
    later = [*past, turn(done), {"role": "user", "content": "and now?"}]
    again = ask(here, later)
    first, second = (get_request(ledger, answer.id) for answer in (asked, again))
    assert again.choices[0].finish_reason == "tool_calls" and second["continues"] is None
    assert second["request"]["conversation"] == first["id"] and second["request"]["messages"] == later


def test_a_kept_key_gets_the_same_tool_calls_and_the_same_continuation(here, upstream):
    asked = [ask(here, HELLO, extra_headers={"Idempotency-Key": "a"}) for _ in range(2)]
    assert asked[0] == asked[1]
    results = ran(asked[0].choices[0].message.tool_calls)
    answers = [ask(here, results, extra_headers={"Idempotency-Key": "b"}) for _ in range(2)]
    assert answers[0] == answers[1] and len(upstream.seen) == 5


def test_a_turn_that_fails_is_another_workers_who_keeps_the_step(house, plan, upstream):
    """The turns before it stay those of the worker that had them."""
    with house(fugu=ADA, plan=plan(("ada", "only", []))) as here:
        allowed = {"fugu": {"allowed_workers": ["ada", "bob", "cy"]}}
        asked = ask(here, HELLO, extra_body=allowed)
        [call] = asked.choices[0].message.tool_calls
        upstream.failing.add("saw")
        with pytest.raises(openai.APIStatusError, match="failed with every worker"):
            ask(here, [*HELLO, turn(asked), *ran([call])], extra_body=allowed)
        # None gets the turn again that has failed at it.
        tried = [body["model"] for body in upstream.seen[1:]]
        assert list(dict.fromkeys(tried)) == ["ada", "bob", "cy"] and tried == sorted(tried)
