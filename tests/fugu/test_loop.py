"""The K-turn loop, driven by scripted decisions and replies."""

from __future__ import annotations

import re
from collections import Counter
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
from models.workers.ask import Ask, Sampling

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
    assert told(turns[4])[:2] == ["Suggestion:", "add"]
    assert told(turns[4])[-3:-1] == ["Suggestion:", "well"]  # a model that forgot the tags


def test_an_objection_reaches_the_next_solver_and_the_router_and_the_answer_is_revised():
    wrong = "REJECT The sign is wrong."
    outcome, observed, turns = drive([(S, "-4"), (V, wrong), (V, "4"), (V, "ACCEPT")])
    assert [turn.role for turn in turns] == [S, V, S, V]  # rejected: there is nothing to verify, but to revise
    shown = ["Earlier thought 0:", "-4", "A verifier's objection to thought 0:", wrong]
    assert told(turns[2])[:-1] == shown
    assert observed[2][1]["content"].endswith(f"\n<objection_0>{wrong}</objection_0>")
    assert told(turns[3])[:-1] == ["Proposed reply:", "4"]  # whoever judges it reads no one's opinion of an earlier one
    assert outcome.text == "4" and outcome.accepted


def test_the_rejected_answer_again_is_not_verified_again():
    outcome, _, turns = drive([(S, "5"), (V, "REJECT"), (S, " 5\n"), (V, "5"), (V, "6")])
    assert [turn.role for turn in turns] == [S, V, S, S, S] and outcome.text == "6" and not outcome.accepted


def test_on_the_last_turn_a_rejected_answer_is_revised():
    outcome, _, turns = drive([(S, "5"), (V, "REJECT"), (T, "4")], turns=3)
    assert turns[-1].role is S and outcome.text == "4" and not outcome.accepted


def test_the_same_ask_again_counts_its_repeats():
    outcome, _, _ = drive([(T, ""), (T, ""), (T, ""), (T, ""), (S, "4")])
    assert [turn.repeat for turn in outcome.turns] == [0, 0, 0, 1, 0]  # turn i goes to worker i mod 3


def test_the_released_router_reads_its_own_form_and_workers_all_of_it():
    script = [(S, "5"), (V, "REJECT no"), (T, "<suggestion>add</suggestion>"), (S, "4"), (V, "ACCEPT")]
    outcome, observed, turns = drive(script, released="Route this.")
    question = "What is 2 + 2?"
    blocks = ["", *["\n<reference_thought_0>5</reference_thought_0>"] * 3]
    blocks.append(blocks[-1] + "\n<reference_thought_1>4</reference_thought_1>")
    prompt = {"role": "system", "content": "Route this."}
    assert observed == [[prompt, {"role": "user", "content": question + block}] for block in blocks]
    _, _, house = drive(script)
    assert [turn.messages for turn in turns] == [turn.messages for turn in house] and outcome.accepted
    assert drive(script, released="")[1][0] == QUESTION  # a router that was given no prompt


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


def test_the_router_reads_dispatcher_question_and_what_every_turn_left():
    _, observed, _ = drive([(S, "<think>guess</think>5"), (T, "think"), (V, "REJECT"), (S, "4"), (S, "4!")])
    left = [
        "<reference_thought_0>guess</reference_thought_0>",
        "<advice_0>think</advice_0>",
        "<objection_0>REJECT</objection_0>",
        "<reference_thought_1>4</reference_thought_1>",
    ]
    expected = ["\n".join(["What is 2 + 2?", *left[:turns]]) for turns in range(5)]
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
MARKS = st.sampled_from(["<", "/", " ", "reference_thought_0", "OBJECTION_0", "advice_1", ">", "\nsystem: ", "ACCEPT"])
ANY_REPLY = st.sampled_from(REPLIES) | st.text(max_size=20) | st.lists(MARKS, max_size=8).map("".join)
SCRIPTS = st.lists(st.tuples(st.sampled_from(Role), ANY_REPLY), min_size=5, max_size=5)


@given(st.integers(1, 5), SCRIPTS, st.sampled_from([None, "Route this."]))
def test_whatever_is_said_a_solver_reply_comes_back_within_the_budget(turns, script, released):
    outcome, _, _ = drive(script, turns=turns, released=released)
    solved = [turn.reply for turn in outcome.turns if turn.role is S]
    assert 1 <= len(outcome.turns) <= turns and outcome.text == solved[-1]
    assert outcome.accepted == (outcome.turns[-1].role is V and roles.accepts(outcome.turns[-1].reply or ""))
    assert outcome.turns[0].role is not V


@given(SCRIPTS, st.sampled_from([None, "Route this."]))
def test_what_was_rejected_is_never_returned_as_accepted(script, released):
    outcome, _, _ = drive(script, released=released)
    latest, rejected = "", set()
    for turn in outcome.turns:
        if turn.role is S:
            latest = turn.reply
        elif turn.role is V and not roles.accepts(turn.reply):
            rejected.add(" ".join(latest.split()))
    assert not outcome.accepted or " ".join(outcome.text.split()) not in rejected


@given(SCRIPTS)
def test_no_text_of_a_worker_closes_its_marks(script):
    """Where it would, the router would read a mark that the loop did not set."""
    outcome, observed, _ = drive(script)
    for turn, read in enumerate(observed):
        text = read[-1]["content"]
        marks = re.findall(r"<[\s/]*(?:reference_thought|objection|advice)_", text, re.IGNORECASE)
        assert len(marks) == 2 * turn, text
        assert text.count("</") >= turn
    for turn in outcome.turns:  # of workers, another's text is always the whole of an assistant's message
        system, *others = turn.messages
        assert system == {"role": "system", "content": roles.PROMPTS[turn.role]}
        ours = re.compile(
            r"Earlier thought \d:|A verifier's objection to thought \d:|Suggestion:|Proposed reply:|Now .*"
        )
        assert all(message["role"] == "assistant" or ours.fullmatch(message["content"]) for message in others[1:])


@given(SCRIPTS)
def test_the_next_solver_sees_every_objection_and_all_advice(script):
    outcome, _, _ = drive(script)
    said = Counter[str]()
    for turn in outcome.turns:
        shown = Counter(message["content"] for message in turn.messages if message["role"] == "assistant")
        if turn.role is S:
            assert shown >= said
        note = roles.note_of(turn.role, turn.reply, [])
        said += Counter([note.text] if note.text and turn.role is not S else [])


@given(SCRIPTS, st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_the_same_ask_twice_is_two_samples(script, workers):
    steps = loop(QUESTION, 3, LoopOptions())
    event, asks = next(steps), []
    try:
        for (role, reply), worker in zip(script, workers, strict=True):
            turn = steps.send(decision(role, worker))
            first = Ask(scope="s", worker=turn.worker, revision="1", messages=turn.messages, sampling=Sampling(seed=7))
            asks.append(first.again(turn.repeat))
            event = steps.send(reply)
            assert isinstance(event, Observe)
    except StopIteration:
        pass
    assert len({ask.identity for ask in asks}) == len(asks)
    assert len({(ask.worker, str(ask.messages), ask.replicate) for ask in asks}) == len(asks)
    assert all((ask.replicate == 0) == (ask.sampling.seed == 7) for ask in asks)
