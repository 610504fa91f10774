"""The K-turn loop, driven by scripted decisions and replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadInput
from models.fugu import roles
from models.fugu.decision import Decision
from models.fugu.loop import LoopOptions, Observe, Outcome, Turn, loop
from models.fugu.roles import Role

S, T, V = Role.SOLVER, Role.THINKER, Role.VERIFIER
WORKERS = ("ant", "bee", "cat")
QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]
DISPATCHER = {"role": "system", "content": roles.DISPATCHER.format(workers=3)}


def decision(role: Role | None, worker: int = 0) -> Decision:
    return Decision(WORKERS[worker], worker, role, np.zeros(3), None, 0.0, 0.0)


def drive(
    script: Sequence[tuple[Role | None, str]], conversation: Any = QUESTION, **options: Any
) -> tuple[Outcome, list[list[dict]], list[Turn]]:
    """(outcome, what the router read at each turn, the turns); turn i goes to worker i mod 3."""
    steps = loop(conversation, 3, LoopOptions(**options))
    observed, turns = [], []
    event = next(steps)
    try:
        for number, (role, reply) in enumerate(script):
            assert isinstance(event, Observe)
            observed.append([dict(message) for message in event.messages])
            event = steps.send(decision(role, number % 3))
            assert isinstance(event, Turn)
            turns.append(event)
            event = steps.send(reply)
    except StopIteration as end:
        return end.value, observed, turns
    raise AssertionError("the loop goes on after the script")


def told(turn: Turn) -> list[str]:
    """What a worker reads after the conversation."""
    return [message["content"] for message in turn.messages[1 + len(QUESTION) :]]


def test_accept_ends_the_loop_with_the_latest_solver_reply():
    outcome, _, turns = drive([(S, "5"), (S, "4"), (V, "ACCEPT, right")])
    assert outcome.text == "4" and outcome.accepted
    assert [turn.role for turn in turns] == [S, S, V] and [turn.worker for turn in turns] == ["ant", "bee", "cat"]
    assert [turn.reply for turn in outcome.turns] == ["5", "4", "ACCEPT, right"]
    assert [turn.turn for turn in outcome.turns] == [1, 2, 3]


def test_without_accept_the_latest_solver_reply_is_returned_at_the_budget():
    outcome, _, turns = drive([(S, "5"), (V, "REJECT"), (T, "hm"), (S, "4"), (V, "REVISE")])
    assert outcome.text == "4" and not outcome.accepted and len(turns) == 5


def test_a_verifier_before_any_reply_becomes_a_solver():
    outcome, _, turns = drive([(V, "4"), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [S, V] and outcome.text == "4"


def test_the_last_turn_without_a_reply_becomes_a_solver():
    outcome, _, turns = drive([(T, "a"), (T, "b"), (T, "4")], turns=3)
    assert [turn.role for turn in turns] == [T, T, S] and outcome.text == "4" and not outcome.accepted


def test_an_empty_solver_reply_is_a_reply():
    outcome, _, turns = drive([(S, ""), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [S, V] and outcome.text == "" and outcome.accepted


def test_a_thinker_may_name_the_next_role_once():
    say = "<suggested_role>THINKER</suggested_role>"
    _, _, turns = drive([(S, "5"), (T, say), (V, "hm"), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [S, T, T, V]
    _, _, turns = drive([(T, "<suggested_role>SOLVER</suggested_role>"), (T, "4"), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [T, S, V]
    _, _, turns = drive([(T, "<suggested_role>VERIFIER</suggested_role>"), (T, "4"), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [T, S, V]  # nothing to verify yet


def test_a_suggestion_reaches_the_next_solver():
    _, _, turns = drive([(T, "<suggestion>add</suggestion>"), (S, "5"), (V, "REJECT"), (T, "well"), (S, "4")])
    assert told(turns[1])[:2] == ["Suggestion:", "add"]
    assert told(turns[4])[2:4] == ["Suggestion:", "add"]  # still the last one


@pytest.mark.parametrize("role", [S, V])
def test_control_words_count_only_where_the_role_may_say_them(role):
    say = "ACCEPT <suggested_role>THINKER</suggested_role><suggestion>obey</suggestion>"
    if role is V:
        say = "REJECT " + say
    _, _, turns = drive([(S, "5"), (role, say), (S, "4"), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [S, role, S, V]
    assert "Suggestion:" not in told(turns[2])


def test_a_thinker_cannot_accept():
    outcome, _, turns = drive([(S, "5"), (T, "ACCEPT"), (V, "ACCEPT")])
    assert len(turns) == 3 and outcome.text == "5"


def test_the_router_reads_dispatcher_question_and_solver_thoughts():
    _, observed, _ = drive([(S, "<think>guess</think>5"), (T, "think"), (V, "REJECT"), (S, "4"), (S, "4!")])
    first, second = (
        "<reference_thought_0>guess</reference_thought_0>",
        "<reference_thought_1>4</reference_thought_1>",
    )
    question = "What is 2 + 2?"
    expected = [question, f"{question}\n{first}", f"{question}\n{first}", f"{question}\n{first}"]
    expected.append(f"{question}\n{first}\n{second}")
    assert observed == [[DISPATCHER, {"role": "user", "content": content}] for content in expected]


def test_of_a_longer_conversation_everything_is_kept_and_the_last_user_message_carries_the_thoughts():
    conversation = [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]},
        {"role": "tool", "content": "4", "tool_call_id": "x"},
    ]
    _, observed, turns = drive([(S, "4"), (V, "ACCEPT")], conversation)
    block = {"type": "text", "text": "<reference_thought_0>4</reference_thought_0>"}
    carried = {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}, block]}
    assert observed[0] == [DISPATCHER, *conversation]
    assert observed[1] == [DISPATCHER, *conversation[:3], carried, conversation[4]]
    assert list(turns[1].messages[1:6]) == conversation  # what a worker is sent stays as it came


def test_without_a_user_message_the_last_one_carries_the_thoughts():
    _, observed, _ = drive([(S, "4"), (V, "ACCEPT")], [{"role": "system", "content": None}])
    assert observed[1][1]["content"] == "\n<reference_thought_0>4</reference_thought_0>"


def test_the_product_asks_one_worker_and_changes_nothing():
    outcome, observed, turns = drive([(V, "ACCEPT")], roles=False)
    assert observed == [QUESTION] and list(turns[0].messages) == QUESTION and turns[0].role is None
    assert outcome == Outcome("ACCEPT", outcome.turns, accepted=True) and outcome.turns[0].reply == "ACCEPT"
    _, observed, turns = drive([(S, "4")], roles=False, dispatcher=True)
    assert observed == [[DISPATCHER, *QUESTION]] and list(turns[0].messages) == QUESTION


def test_a_decision_without_a_role_ends_the_loop_with_an_error():
    with pytest.raises(BadInput, match="role rows"):
        drive([(None, "")])


@pytest.mark.parametrize(("conversation", "options"), [([], {}), (QUESTION, {"turns": 0})])
def test_a_loop_over_nothing_is_an_error(conversation, options):
    with pytest.raises(BadInput):
        loop(conversation, 3, LoopOptions(**options))


REPLIES = ["4", "ACCEPT", "REJECT", "<suggested_role>VERIFIER</suggested_role>", "<think>x</think>y", ""]


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from(Role), st.sampled_from(REPLIES)), min_size=5, max_size=5))
def test_whatever_is_said_a_solver_reply_comes_back_within_the_budget(turns, script):
    outcome, _, _ = drive(script, turns=turns)
    solved = [turn.reply for turn in outcome.turns if turn.role is S]
    assert 1 <= len(outcome.turns) <= turns and outcome.text == solved[-1]
    assert outcome.accepted == (outcome.turns[-1].role is V and roles.accepts(outcome.turns[-1].reply or ""))
    assert outcome.turns[0].role is not V
