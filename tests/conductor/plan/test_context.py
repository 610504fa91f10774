"""What a step's worker is sent: canaries show that nothing else of the workflow gets in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.conductor.plan.context import PREVIOUS, Done, messages_for
from models.conductor.plan.workflow import Step, Workflow

STEADY = settings(deadline=None, derandomize=True, max_examples=300)
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "First?"},
    {"role": "assistant", "content": "One."},
    {"role": "user", "content": [{"type": "text", "text": "Second?"}]},
]
ACCESS = st.one_of(st.just("all"), st.lists(st.integers(-2, 8), max_size=5).map(tuple))


def workflow_of(*access):
    return Workflow(
        steps=tuple(Step(model=0, subtask=f"subtask-{i}-end", access=each) for i, each in enumerate(access))
    )


def done_of(workflow):
    return {i: Done(i, step.subtask, f"canary-{i}-end") for i, step in enumerate(workflow.steps)}


def visible(messages, word, count):
    """Which of the numbered words stand anywhere in the messages."""
    text = json.dumps(messages)
    return {i for i in range(count) if f"{word}-{i}-end" in text}


@STEADY
@given(st.lists(ACCESS, min_size=1, max_size=8), st.sampled_from([None, "before"]))
def test_no_unlisted_step_of_the_same_workflow_is_in_a_context(access, previous):
    workflow = workflow_of(*access)
    done = done_of(workflow)  # all of them, later ones too: what is there is not what may be seen
    for index, listed in enumerate(access):
        messages = messages_for(CONVERSATION, workflow, index, done, previous=previous)
        allowed = {i for i in range(index) if listed == "all" or i in listed}
        assert visible(messages, "canary", len(access)) == allowed
        assert visible(messages, "subtask", len(access)) == allowed | {index}
        assert ("before" in json.dumps(messages)) == (previous is not None and listed == "all")


@STEADY
@given(st.lists(ACCESS, min_size=1, max_size=6), st.data())
def test_a_reply_that_changes_reaches_only_those_who_may_see_it(access, data):
    workflow = workflow_of(*access)
    changed = data.draw(st.integers(0, len(access) - 1))
    before, after = done_of(workflow), done_of(workflow) | {changed: Done(changed, "new subtask", "new reply")}
    for index in range(len(access)):
        same = messages_for([], workflow, index, before) == messages_for([], workflow, index, after)
        assert same == (changed not in workflow.sees(index))


def test_a_context_is_conversation_memory_own_history_visible_steps_subtask_and_turns():
    workflow = workflow_of((), (), (0,), (2, 0))
    memory = [{"role": "user", "content": "Tool results"}]
    own = [{"role": "user", "content": "earlier subtask"}, {"role": "assistant", "content": "earlier reply"}]
    turns = [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "4"}]
    messages = messages_for(CONVERSATION, workflow, 3, done_of(workflow), own=own, memory=memory, turns=turns)
    assert messages == [
        *CONVERSATION,
        *memory,
        *own,
        {"role": "user", "content": "Step 1, subtask: subtask-0-end"},
        {"role": "assistant", "content": "canary-0-end"},
        {"role": "user", "content": "Step 3, subtask: subtask-2-end"},
        {"role": "assistant", "content": "canary-2-end"},
        {"role": "user", "content": "Step 4, your subtask: subtask-3-end"},
        *turns,
    ]


def test_the_answer_of_the_round_before_stands_before_the_steps_that_see_all():
    workflow = workflow_of("all", "all", (0,))
    done = done_of(workflow)
    told = [{"role": "user", "content": PREVIOUS}, {"role": "assistant", "content": "before"}]
    assert messages_for([], workflow, 0, done, previous="before")[:-1] == told
    assert messages_for([], workflow, 1, done, previous="before")[:2] == told
    assert len(messages_for([], workflow, 2, done, previous="before")) == 3


def test_steps_of_a_pruned_plan_keep_the_numbers_that_they_were_written_with():
    workflow = workflow_of((), (0,))
    contents = [m["content"] for m in messages_for([], workflow, 1, done_of(workflow), numbers=(1, 4))]
    assert contents == ["Step 2, subtask: subtask-0-end", "canary-0-end", "Step 5, your subtask: subtask-1-end"]


def test_a_step_that_is_seen_has_to_be_done():
    with pytest.raises(KeyError):
        messages_for([], workflow_of((), "all"), 1, {})
    assert messages_for([], workflow_of((), ()), 1, {})


def test_what_is_returned_may_be_changed_without_changing_what_was_given():
    conversation = [{"role": "user", "content": "Hi"}]
    messages_for(conversation, workflow_of(()), 0, {})[0]["content"] = "changed"
    assert conversation == [{"role": "user", "content": "Hi"}]
