"""Prompts: the tokenizer's own template, also one that takes no system message, and the plain one."""

from __future__ import annotations

import pytest

from deployments.local.generation import LanguageModel
from deployments.local.prompt import merged, plain_prompt
from models.errors import BadInput

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 2 + 2?"},
]
STRICT = (
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<{{ message.role }}>{{ message.content }}{% endfor %}"
)


@pytest.fixture
def prompt_of(tmp_path, make_model):
    def prompt(template, messages, **arguments):
        make_model(tmp_path, template)
        model = LanguageModel.load(tmp_path)
        return model.tokenizer.decode(model.prompt(messages, arguments))

    return prompt


def test_a_model_without_a_template_reads_lines_and_goes_on_as_the_assistant(prompt_of):
    assert prompt_of(None, TALK) == plain_prompt(TALK)
    assert plain_prompt(TALK[3:]) == "Assistant: 2\nUser: And 2 + 2?\nAssistant:"


def test_what_a_template_refuses_is_told_in_turns_that_it_takes(prompt_of):
    told = "<user>Be brief.\n\nHi.\n\nWhat is 1 + 1?<assistant>2<user>And 2 + 2?"
    assert prompt_of(STRICT, TALK) == told
    assert [message["role"] for message in merged(TALK)] == ["user", "assistant", "user"]


def test_arguments_reach_the_template(prompt_of):
    assert prompt_of("{{ 'thinks' if enable_thinking else 'answers' }}", TALK, enable_thinking=True) == "thinks"


def test_a_template_that_refuses_everything_is_bad_input(prompt_of):
    with pytest.raises(BadInput, match="chat template refuses the messages: never"):
        prompt_of("{{ raise_exception('never') }}", TALK)
