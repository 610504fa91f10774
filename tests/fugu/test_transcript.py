"""The router's text: raw `role: content` lines."""

from __future__ import annotations

import pytest

from models.errors import BadInput
from models.fugu import transcript


def test_a_transcript_is_one_role_and_content_line_per_message():
    messages = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Hi\nthere"}]
    assert transcript.text(messages) == "system: Be terse.\nuser: Hi\nthere"


def test_an_empty_message_is_a_line_of_its_own():
    assert transcript.text([{"role": "user", "content": ""}]) == "user: "
    assert transcript.text([{"role": "assistant", "content": None}, {"role": "tool"}]) == "assistant: \ntool: "


def test_of_content_in_parts_only_the_text_is_read():
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "Be brief."},
        "Thanks.",
    ]
    assert transcript.text([{"role": "user", "content": parts}]) == "user: What is this?\nBe brief.\nThanks."


@pytest.mark.parametrize(
    "messages",
    [[], [{"content": "no role"}], [{"role": "user", "content": 3}], [{"role": ""}], "hi", {"role": "user"}, ["hi"]],
)
def test_what_is_no_conversation_is_refused_by_name(messages):
    with pytest.raises(BadInput) as caught:
        transcript.text(messages)
    assert caught.value.field == "messages"


def test_half_of_a_surrogate_pair_is_no_text():
    assert transcript.text([{"role": "user", "content": "\U0001f600"}]) == "user: \U0001f600"
    with pytest.raises(BadInput, match="lone surrogate") as caught:
        transcript.text([{"role": "user", "content": "\ud83d"}])
    assert caught.value.field == "messages"
