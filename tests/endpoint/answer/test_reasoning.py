"""A worker's visible reasoning reaches who asks for it, in the form that is spoken, and is no part of the answer."""

from __future__ import annotations

import anthropic
import pytest

from models.ledger.access.keys import make_key
from models.ledger.access.policy import Policy

HELLO = [{"role": "user", "content": "hello"}]
SAID, THOUGHT = "one two three", "let me count"
THINKER = {"kind": "worker", "worker": "thinker"}
THINKING = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
def here(house, upstream):
    with house(fugu=THINKER) as here:
        yield here


def chat(here, stream, **more):
    """The answer's text and its reasoning."""
    reply = here.client.chat.completions.create(model="fugu", messages=HELLO, stream=stream, **more)
    if not stream:
        message = reply.choices[0].message
        return message.content, getattr(message, "reasoning_content", None)
    deltas = [chunk.choices[0].delta for chunk in reply if chunk.choices]
    parts = [(delta.content or "", getattr(delta, "reasoning_content", None) or "") for delta in deltas]
    return tuple(map("".join, zip(*parts, strict=True)))


def messages(here, stream, **more):
    with anthropic.Anthropic(base_url=here.url, api_key="none", max_retries=0) as client:
        asked = {"model": "fugu", "max_tokens": 2048, "messages": HELLO, **more}
        if stream:
            with client.messages.stream(**asked) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**asked)
    words = [block.text for block in answer.content if block.type == "text"]
    return "".join(words), "".join(block.thinking for block in answer.content if block.type == "thinking") or None


def responses(here, stream, **more):
    answer = here.client.responses.create(model="fugu", input="hello", stream=stream, **more)
    if stream:
        answer = list(answer)[-1].response
    said = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
    return answer.output_text, "".join(said) or None


@pytest.mark.parametrize("stream", [False, True])
def test_in_each_form(here, stream):
    assert chat(here, stream) == (SAID, THOUGHT)
    assert messages(here, stream, thinking=THINKING) == responses(here, stream, reasoning={"summary": "auto"})
    assert messages(here, stream, thinking=THINKING) == (SAID, THOUGHT)


@pytest.mark.parametrize("stream", [False, True])
def test_not_where_the_form_does_not_ask(here, stream):
    assert messages(here, stream) == responses(here, stream) == (SAID, None)


def test_an_answer_that_is_given_again_has_it_too(here, upstream):
    key = {"extra_headers": {"Idempotency-Key": "k"}}
    assert chat(here, True, **key) == chat(here, False, **key) == (SAID, THOUGHT) and len(upstream.seen) == 1


def test_it_comes_back_as_history(here):
    first = here.client.chat.completions.create(model="fugu", messages=HELLO).choices[0].message
    again = [*HELLO, first.to_dict(), {"role": "user", "content": "and?"}]
    assert here.client.chat.completions.create(model="fugu", messages=again).choices[0].message.content == SAID


def test_where_a_worker_breaks_off_in_its_reasoning_the_next_one_answers(house, upstream, router, ledger):
    with house(fugu={"kind": "worker", "worker": "daze"}) as here:
        only = {"extra_body": {"fugu": {"allowed_workers": ["daze", "echo"]}}}
        text, thoughts = chat(here, True, **only)
    assert text == SAID and thoughts == THOUGHT and [body["model"] for body in upstream.seen] == ["daze", "echo"]


def test_a_key_that_may_only_chat_sees_a_workers_reasoning_and_no_plan(house, upstream, ledger, plan):
    _, secret = make_key(ledger, "codex", Policy(scopes=("chat",)))
    asked = {"reasoning": {"summary": "auto"}, "extra_headers": {"Authorization": f"Bearer {secret}"}}
    with house(fugu=THINKER, plan=plan(("ada", "look", [])), needs_key=True) as here:
        assert responses(here, False, **asked) == (SAID, THOUGHT)
        answer = here.client.responses.create(model="fugu-ultra", input="hello", **asked)
    assert answer.output_text and all(item.type != "reasoning" for item in answer.output)
