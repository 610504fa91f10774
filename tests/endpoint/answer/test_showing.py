"""Shown work, as the official client sees it: plan, steps and turns beside the answer, whose last step streams live."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from models.fugu.roles import Role

ADA = {"kind": "worker", "worker": "ada"}
HELLO = [{"role": "user", "content": "hello"}]
SHOW = {"fugu": {"show_work": True}}


def create(here, **more):
    return here.client.chat.completions.create(**{"model": "fugu-ultra", "messages": HELLO, **more})


def read(stream):
    """The words of the answer, and the thoughts."""
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    thoughts = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    return "".join(delta.content or "" for delta in deltas), thoughts


@pytest.fixture
def chain(plan):
    return plan(("ada", "look", []), ("bob", "answer", "all"))


def test_plan_steps_and_their_words_are_reasoning_and_the_last_step_is_the_answer(house, upstream, chain):
    with house(fugu=ADA, plan=chain) as here:
        said, thoughts = read(create(here, stream=True, extra_body=SHOW))
        plain, nothing = read(create(here, stream=True))
        traced, also = read(create(here, stream=True, extra_headers={"X-Fugu-Trace": "1"}))
    assert said == plain == traced == "bob: Step 2, your subtask: answer" and nothing == ""
    assert thoughts.startswith("Plan 1:\n1. ada: look\n2. bob: answer\n") and also == thoughts
    assert "Step 1 (ada): ada: Step 1, your subtask: look\n" in thoughts and thoughts.rstrip().endswith(
        "Step 2 (bob) answers."
    )


def test_a_whole_answer_has_them_too_and_a_finished_one_tells_its_plan_again(house, upstream, chain):
    key = {"Idempotency-Key": "k"}
    with house(fugu=ADA, plan=chain) as here:
        shown = create(here, extra_body=SHOW, extra_headers=key).choices[0].message
        again = create(here, extra_body=SHOW, extra_headers=key).choices[0].message
        plain = create(here, extra_headers=key).choices[0].message  # what is shown does not make it another request
    assert shown.content == again.content == plain.content == "bob: Step 2, your subtask: answer"
    assert "Step 1 (ada): ada: Step 1" in shown.reasoning_content and "2. bob: answer" in again.reasoning_content
    assert not hasattr(plain, "reasoning_content")


def test_the_last_step_streams_live_and_all_clients_of_a_key_get_the_same(house, upstream, plan):
    asked = {"stream": True, "extra_headers": {"Idempotency-Key": "k"}}
    with house(fugu=ADA, plan=plan(("ada", "look", []), ("stall", "answer", "all"))) as here:
        streams = [iter(create(here, **asked)) for _ in range(2)]
        begun = ["", ""]
        for number, stream in enumerate(streams):  # the worker waits after its first word
            while not begun[number]:
                begun[number] += next(stream).choices[0].delta.content or ""
        with ThreadPoolExecutor() as pool:
            whole = pool.submit(create, here, extra_headers=asked["extra_headers"])
            upstream.released.set()
            ends = [read(stream)[0] for stream in streams]
            assert whole.result().choices[0].message.content == "one two three"
    assert (
        begun == ["one ", "one "] and [one + end for one, end in zip(begun, ends, strict=True)] == ["one two three"] * 2
    )


def test_where_the_last_step_breaks_off_its_stream_fails_and_its_key_has_the_answer(house, upstream, plan):
    key = {"Idempotency-Key": "k"}
    with house(fugu=ADA, plan=plan(("cut", "answer", []))) as here:
        with pytest.raises(openai.APIError, match="a worker could not be asked"):
            read(create(here, stream=True, extra_headers=key))
        assert create(here, extra_headers=key).choices[0].message.content


def test_without_a_key_nobody_is_asked_again_once_words_of_the_answer_are_out(house, upstream, plan):
    with house(fugu=ADA, plan=plan(("cut", "answer", []))) as here:
        with pytest.raises(openai.APIError):
            read(create(here, stream=True))
        assert [body["model"] for body in upstream.seen] == ["cut"]
        assert create(here).choices[0].message.content  # whole, no byte is out before it is there


@pytest.mark.parametrize(
    "more", [{"response_format": {"type": "json_object"}}, {"extra_body": {"fugu": {"recursive": True}}}]
)
def test_a_step_that_may_not_be_the_last_is_shown_as_work(house, upstream, plan, more):
    more = {**more, "extra_body": {"fugu": {**more.get("extra_body", {}).get("fugu", {}), "show_work": True}}}
    with house(fugu=ADA, plan=plan(("ada", "answer", []))) as here:
        said, thoughts = read(create(here, stream=True, **more))
    assert said and f"Step 1 (ada): {said}\n" in thoughts


def test_turns_of_trinity_are_shown_as_they_come(house, upstream, router):
    upstream.scripts["You are the VERIFIER"] = "ACCEPT"
    served, _ = router([("echo", Role.SOLVER), ("echo", Role.VERIFIER)] * 2)
    with house(**served) as here:
        said, thoughts = read(create(here, model="trinity", stream=True, extra_body=SHOW))
        whole = create(here, model="trinity", extra_body=SHOW).choices[0].message
    assert said == whole.content == "one two three"
    assert thoughts.startswith("Solver (echo): one two three\n") and "Verifier (echo): ACCEPT\n" in thoughts
    assert thoughts.split("\n\n")[0] == whole.reasoning_content.split("\n\n")[0]


@pytest.mark.parametrize("model", ["fugu-ultra", "trinity"])
def test_something_comes_in_the_first_second(house, upstream, plan, model):
    body = {"model": model, "messages": HELLO, "stream": True}
    with house(fugu={"kind": "worker", "worker": "silent"}, plan=plan(("silent", "wait", []))) as here:
        began = time.monotonic()
        with here.raw.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert next(answer.iter_lines()) == ": working"
            assert time.monotonic() - began < here.heartbeat_s
            upstream.released.set()
