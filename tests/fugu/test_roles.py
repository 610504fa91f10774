"""Role prompts, and the control words that each role may say."""

from __future__ import annotations

import pytest

from models.fugu import roles
from models.fugu.roles import Role

CONVERSATION = [
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]},
]


def test_role_ids_are_the_order_of_the_released_rows():
    assert [Role.SOLVER, Role.THINKER, Role.VERIFIER] == [0, 1, 2]


@pytest.mark.parametrize(
    ("reply", "thought"),
    [
        ("The answer is 4.\n", "The answer is 4."),
        ("<think>two and two</think>4", "two and two"),
        ("<think>\na\nb\n</think>", "a\nb"),
        ("<think>never closed", "<think>never closed"),
        ("", ""),
    ],
)
def test_a_thought_is_what_stands_in_think_or_else_the_reply(reply, thought):
    assert roles.thought(reply) == thought


@pytest.mark.parametrize("reply", ["ACCEPT", "ACCEPT: fine", "  ACCEPT\nwell done", "**ACCEPT**", "ACCEPTED."])
def test_a_reply_that_starts_with_accept_accepts(reply):
    assert roles.accepts(reply)


@pytest.mark.parametrize(
    "reply", ["", "REJECT", "REVISE: wrong sign", "I ACCEPT", "accept", "ACCEPTABLE, but no", "REJECT\nACCEPT"]
)
def test_any_other_reply_continues(reply):
    assert not roles.accepts(reply)


def test_a_suggestion_and_a_role_are_read_from_their_tags():
    reply = "Hm.<suggestion> factor it </suggestion> <suggested_role> worker </suggested_role>"
    assert roles.suggestion(reply) == "factor it" and roles.suggested_role(reply) is Role.SOLVER
    assert roles.suggested_role("<suggested_role>VERIFIER</suggested_role>") is Role.VERIFIER
    for silent in ("", "factor it", "<suggestion></suggestion>", "<suggested_role>KING</suggested_role>"):
        assert roles.suggestion(silent) is None and roles.suggested_role(silent) is None


@pytest.mark.parametrize("role", Role)
def test_every_role_gets_its_prompt_and_the_whole_conversation(role):
    first, *rest = roles.messages_for(role, CONVERSATION, ["4?"], "add them", "four")
    assert first["role"] == "system" and first["content"].startswith(roles.PROMPTS[role])
    assert rest == CONVERSATION


def test_each_role_sees_only_what_it_needs():
    seen = {role: roles.messages_for(role, CONVERSATION, ["4?"], "add them", "four")[0]["content"] for role in Role}
    thought, advice, latest = "<reference_thought_0>4?</reference_thought_0>", "add them", "four"
    assert thought in seen[Role.SOLVER] and advice in seen[Role.SOLVER] and latest not in seen[Role.SOLVER]
    assert thought in seen[Role.THINKER] and advice not in seen[Role.THINKER] and latest not in seen[Role.THINKER]
    assert latest in seen[Role.VERIFIER] and thought not in seen[Role.VERIFIER] and advice not in seen[Role.VERIFIER]


def test_the_conversation_itself_is_left_alone():
    before = [dict(message) for message in CONVERSATION]
    roles.messages_for(Role.SOLVER, CONVERSATION)[1]["content"] = "changed"
    assert before == CONVERSATION
