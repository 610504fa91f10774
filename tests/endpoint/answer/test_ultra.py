"""`fugu-ultra` as the official client sees it: whole, streamed, within limits, with a worker that fails."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from request_rows import recent_requests

from models.conductor.plan.writers import FixedWriter
from models.ledger.requests import get_request

ADA = {"kind": "worker", "worker": "ada"}
HELLO = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
TRACE = {"X-Fugu-Trace": "1"}


@pytest.fixture
def chain(plan):
    """ada, then bob, who sees her, then cy, who sees both."""
    return plan(("ada", "first", []), ("bob", "second", [0]), ("cy", "third", "all"))


class Reader(FixedWriter):
    """Says always the same, but is told who is who."""

    reads_cards = True


def ask(here, **more):
    return here.client.chat.completions.create(**{"model": "fugu-ultra", "messages": HELLO, **more})


def test_the_last_step_answers_and_usage_keeps_the_others_apart(house, upstream, ledger, chain):
    with house(fugu=ADA, plan=chain) as here:
        answer = ask(here)
    assert answer.choices[0].message.content == "cy: Step 3, your subtask: third"
    assert answer.choices[0].finish_reason == "stop" and answer.model == "fugu-ultra"
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 3, 24)
    assert usage.prompt_tokens_details.orchestration_input_tokens == 10
    assert usage.completion_tokens_details.orchestration_output_tokens == 6
    row = recent_requests(ledger)[0]
    assert row["id"] == answer.id and row["status"] == "answered" and row["http"] == 200
    assert row["cost_usd"] == pytest.approx(3 * (5 * 1.0 + 3 * 2.0) / 1e6)


def test_each_step_sees_the_conversation_and_what_its_access_list_names(house, upstream, chain):
    with house(fugu=ADA, plan=chain) as here:
        ask(here, temperature=0.5, max_tokens=7)
    first, second, third = (body["messages"] for body in upstream.seen)
    assert first[:2] == second[:2] == third[:2] == HELLO
    assert "ada: " not in str(first) and "ada: " in str(second) and "bob: " in str(third)
    assert {body["temperature"] for body in upstream.seen} == {0.5}
    assert [body["max_tokens"] == 7 for body in upstream.seen] == [False, False, True]


def test_a_stream_beats_until_the_answer_and_then_says_it_in_pieces(house, upstream, plan):
    body = {"model": "fugu-ultra", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    with (
        house(fugu=ADA, plan=plan(("silent", "wait", [])), heartbeat_s=0.02) as here,
        here.raw.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": working", ""] * 2
        upstream.released.set()
        rest = [line for line in lines if line.startswith("data:")]
    role, *words, end, usage, done = rest
    assert '"role":"assistant"' in role and '"finish_reason":"stop"' in end
    assert "".join(json.loads(word[6:])["choices"][0]["delta"]["content"] for word in words) == "one two three"
    assert '"total_tokens":8' in usage and done == "data: [DONE]"


def test_whole_and_streamed_answers_say_the_same(house, upstream, chain):
    long = [{"role": "user", "content": "x" * 1000}]
    with house(fugu=ADA, plan=chain) as here:
        whole = ask(here, messages=long)
        chunks = list(ask(here, messages=long, stream=True, stream_options={"include_usage": True}))
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content and chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage


def test_the_plan_and_its_steps_are_told_only_on_demand(house, upstream, chain):
    with house(fugu=ADA, plan=chain) as here:
        create = here.client.chat.completions.with_raw_response.create
        silent = create(model="fugu-ultra", messages=HELLO)
        told = create(model="fugu-ultra", messages=HELLO, extra_headers=TRACE)
        last = list(ask(here, stream=True, extra_headers=TRACE))[-1]
    said = f"{silent.text} {silent.headers}".replace(silent.parse().id, "")  # a random id may spell a name
    assert "fugu" not in silent.parse().model_extra and "ada" not in said
    trace = told.parse().fugu
    [planned] = trace["rounds"]
    assert [step["worker"] for step in planned["steps"]] == ["ada", "bob", "cy"] and planned["texts"] == [chain]
    assert all(step["seconds"] >= 0 and step["completion_tokens"] == 3 for step in planned["steps"])
    assert trace["maybe_paid"] == []
    assert trace["worker"] == told.headers["x-fugu-worker"] == "cy" and told.headers["x-fugu-turns"] == "3"
    assert float(told.headers["x-fugu-cost"]) == pytest.approx(trace["cost_usd"])
    assert last.fugu["rounds"][0]["steps"][1]["worker"] == "bob"


@pytest.mark.parametrize("champion", ["worker", "router"])
def test_a_failing_worker_is_replaced_by_the_champions_next_best(house, upstream, plan, router, champion):
    served, best = {"fugu": {"kind": "worker", "worker": "bob"}}, "bob"
    if champion == "router":
        (served, _), best = router([("count", None)]), "count"
    with house(**served, plan=plan(("e500", "first", []), ("cy", "second", "all"))) as here:
        answer = ask(here, extra_headers=TRACE)
    first, second = answer.fugu["rounds"][0]["steps"]
    assert first["worker"] == best and first["tried"] == ["e500"] and second["worker"] == "cy"
    assert "Step 1, subtask: first" in str(upstream.seen[-1]["messages"])


def test_without_a_valid_plan_the_champions_best_answers_and_the_trace_says_so(house, upstream):
    with house(fugu={"kind": "worker", "worker": "bob"}, plan="I would rather not plan.") as here:
        answer = ask(here, extra_headers=TRACE)
    [planned] = answer.fugu["rounds"]
    assert answer.choices[0].message.content.startswith("bob: ") and planned["fallback"]
    assert len(planned["texts"]) == len(planned["complaints"]) == 2


def test_a_step_that_nobody_can_take_names_itself_and_no_worker(house, upstream, plan, ledger):
    only = {"fugu": {"allowed_workers": ["e500", "e401"]}}
    with house(fugu=ADA, plan=plan(("e401", "first", []), ("e500", "second", [0]))) as here:
        with pytest.raises(openai.APIStatusError) as failed:
            ask(here, extra_body=only)
        with pytest.raises(openai.APIStatusError, match="e500"):
            ask(here, extra_body=only, extra_headers=TRACE)
    assert (failed.value.status_code, failed.value.code) == (502, "workflow_failed")
    assert "step 1" in failed.value.message and "e500" not in failed.value.message
    assert [(row["status"], row["http"]) for row in recent_requests(ledger)] == [("failed", 502)] * 2


def test_a_request_that_a_worker_refuses_is_the_callers_error_once_and_nobody_elses(house, upstream, plan):
    steps = ("e400", "first", []), ("ada", "second", [0])
    with house(fugu=ADA, plan=plan(*steps)) as here, pytest.raises(openai.BadRequestError) as failed:
        ask(here)
    assert failed.value.code == "upstream_refused" and [body["model"] for body in upstream.seen] == ["e400"]


def test_a_step_stays_with_its_worker_where_the_caller_forbids_another(house, upstream, plan):
    steps = ("e500", "first", []), ("ada", "second", [0])
    with house(fugu=ADA, plan=plan(*steps)) as here, pytest.raises(openai.InternalServerError):
        ask(here, extra_body={"fugu": {"failover": False}})
    assert {body["model"] for body in upstream.seen} == {"e500"}


def test_over_a_limit_the_best_finished_answer_is_given_and_the_trace_says_why(house, upstream, plan):
    with house(fugu=ADA, plan=plan(("ada", "first", []), ("silent", "second", "all"))) as here:
        answer = ask(here, extra_body={"fugu": {"max_seconds": 0.5}}, extra_headers=TRACE)
    [choice] = answer.choices
    assert choice.message.content == "ada: Step 1, your subtask: first" and choice.finish_reason == "length"
    assert answer.fugu["ended"] == "max_seconds"


def test_a_limit_of_money_that_nothing_fits_into_is_said_before_anything_is_paid(house, upstream, chain):
    body = {"model": "fugu-ultra", "messages": HELLO, "fugu": {"max_usd": 1e-9}}
    with house(fugu=ADA, plan=chain) as here:
        answer = here.raw.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (402, "max_usd_reached", "fugu.max_usd")
    assert upstream.seen == []


def test_a_limit_of_time_that_leaves_nothing_is_a_timeout(house, upstream, plan):
    body = {"model": "fugu-ultra", "messages": HELLO, "fugu": {"max_seconds": 0.2}}
    with house(fugu=ADA, plan=plan(("silent", "wait", []))) as here:
        answer = here.raw.post("/v1/chat/completions", json=body)
        assert upstream.gone.wait(10)
    assert answer.status_code == 504 and answer.json()["error"]["param"] == "fugu.max_seconds"


REFUSED = [
    ({"max_usd": -1}, "fugu.max_usd"),
    ({"max_calls": 0}, "fugu.max_calls"),
    ({"max_calls": "many"}, "fugu.max_calls"),
    ({"max_seconds": 0}, "fugu.max_seconds"),
    ({"depth": 4}, "fugu.depth"),
    ({"depth": 0, "recursive": True}, "fugu.depth"),
    ({"recursive": "yes"}, "fugu.recursive"),
    ({"shuffle": -1}, "fugu.shuffle"),
    ({"conversation": ""}, "fugu.conversation"),
    ({"conversation": "a\nb"}, "fugu.conversation"),
    ({"allowed_workers": ["nobody"]}, "fugu.allowed_workers"),
    ({"speed": 1}, "fugu.speed"),
]


def test_a_bad_wish_is_refused_by_the_name_of_its_field(house, upstream, ledger, chain):
    with house(fugu=ADA, plan=chain) as here:
        for wish, param in REFUSED:
            body = {"model": "fugu-ultra", "messages": HELLO, "fugu": wish}
            answer = here.raw.post("/v1/chat/completions", json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (wish, answer.text)
        answer = here.raw.post("/v1/chat/completions", json={**body, "model": "fugu", "fugu": {"depth": 1}})
        assert answer.status_code == 400 and "fugu-ultra" in answer.json()["error"]["message"]
    assert upstream.seen == [] and recent_requests(ledger) == []


def test_wishes_reach_the_request_that_is_conducted(house, upstream, ledger, plan):
    wish = {"max_usd": 1, "max_calls": 9, "max_seconds": 60, "depth": 2, "conversation": "talk", "shuffle": 3}
    conductor = Reader(plan(("echo", "first", [])))
    with house(fugu=ADA, plan=conductor, cards={"ada": "arithmetic 0.90", "cy": "facts 0.80"}) as here:
        answer = ask(here, extra_body={"fugu": {**wish, "allowed_workers": ["ada", "cy"]}})
    request = get_request(ledger, answer.id)["request"]
    assert request["limits"] == {"max_usd": 1.0, "max_calls": 9, "max_seconds": 60.0, "depth": 2}
    assert (request["conversation"], request["shuffle"], request["allowed"]) == ("talk", 3, ["ada", "cy"])


@pytest.mark.parametrize("reads", [False, True])
def test_shuffled_workers_are_refused_where_nothing_tells_who_is_who(house, upstream, ledger, chain, reads):
    body = {"model": "fugu-ultra", "messages": HELLO, "fugu": {"shuffle": 3, "allowed_workers": ["ada", "bob"]}}
    with house(fugu=ADA, plan=Reader(chain) if reads else chain, cards={"ada": "arithmetic 0.90", "bob": ""}) as here:
        answer = here.raw.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "fugu.shuffle")
    assert ("'bob'" if reads else "reads no cards") in error["message"]
    assert upstream.seen == [] and recent_requests(ledger) == []


def test_without_a_conductor_the_others_answer_and_the_log_says_why_once(house, upstream, caplog, until):
    with house(fugu=ADA) as here:
        assert here.raw.get("/readyz").status_code == 200  # which does not wait for a conductor
        until(lambda: "no conductor" in caplog.text)
        answers = [
            here.raw.post("/v1/chat/completions", json={"model": model, "messages": HELLO})
            for model in ("fugu", "fugu-ultra", "fugu-ultra")
        ]
    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert "no conductor" in answers[1].json()["error"]["message"] and answers[1].headers["retry-after"] == "1"
    assert sum("no conductor" in record.message for record in caplog.records) == 1


def test_a_request_is_in_the_ledger_before_anything_is_asked(house, upstream, ledger, plan):
    with house(fugu=ADA, plan=plan(("silent", "wait", []))) as here, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask, here)
        assert upstream.arrived.wait(10)
        row = recent_requests(ledger)[0]
        upstream.released.set()
        assert asked.result().id == row["id"]
    assert row["status"] == "running" and row["body"] is None and row["request"]["messages"] == HELLO


def test_the_log_has_a_line_for_each_request_and_no_prompt(house, upstream, caplog, chain):
    caplog.set_level("INFO", logger="deployments.endpoint")
    with house(fugu=ADA, plan=chain) as here:
        answer = ask(here, messages=[{"role": "user", "content": "canary"}])
    [line] = [record.fields for record in caplog.records if getattr(record, "fields", {}).get("id") == answer.id]
    assert (line["status"], line["worker"], line["calls"]) == (200, "cy", 3)
    assert "canary" not in str([record.getMessage() for record in caplog.records]) + str(line)


def test_workers_that_are_not_asked_are_not_offered_and_with_none_left_it_says_when_to_come_back(house, upstream, plan):
    offered = []

    class Writer(FixedWriter):
        async def write(self, request):
            offered.append([card.ordinal for card in request.cards])
            return await super().write(request)

    def among(*workers):
        return {"fugu": {"allowed_workers": list(workers)}}

    writer = Writer(plan(("e401", "first", []), ("e401", "second", [0])))
    with house(fugu=ADA, plan=writer) as here:
        first = ask(here, extra_body=among("e401", "bob", "cy"), extra_headers=TRACE)
        asked = Counter(body["model"] for body in upstream.seen)
        second = ask(here, extra_body=among("e401", "bob", "cy"), extra_headers=TRACE)
        with pytest.raises(openai.APIStatusError) as refused:
            ask(here, extra_body=among("e401"))
    assert asked["e401"] >= 1 and Counter(body["model"] for body in upstream.seen)["e401"] == asked["e401"]
    assert len(offered[0]) == 3 and len(offered[1]) == 2 and len(offered) == 2
    assert [answer.fugu["rounds"][0]["not_asked"] for answer in (first, second)] == [[], ["e401"]]
    for answer in (first, second):  # a writer without cards may still name it
        assert [step["tried"] for step in answer.fugu["rounds"][0]["steps"]] == [["e401"]] * 2
    assert (refused.value.status_code, refused.value.code) == (503, "no_worker")
    assert int(refused.value.response.headers["Retry-After"]) > 0 and "until somebody acts" in refused.value.message
