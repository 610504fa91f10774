"""Errors keep their class and lose others' words; questions in the parameters are told from names of sets and files."""

import pytest

from deployments.overrides import _refusal
from models.errors import BadInput, NotReady, TransientError, UpstreamRefused, UpstreamUnavailable, WorkflowFailed
from tasks.setup.questions import load_inputs
from tasks.setup.texts import unquoted

MARKER = "marker-4711"


@pytest.mark.parametrize(
    "error", [UpstreamRefused(MARKER, 413), UpstreamUnavailable(MARKER, 2.0), WorkflowFailed(MARKER, "w", 1)]
)
def test_an_error_that_may_quote_keeps_its_class_and_figures(error, monkeypatch):
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "false")
    plain = unquoted(error)
    assert type(plain) is type(error) and vars(plain) == vars(error) and MARKER not in str(plain)
    assert isinstance(plain, TransientError) == isinstance(error, TransientError)
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "true")
    assert unquoted(error) is error


def test_an_error_of_ours_keeps_its_words_and_a_strange_one_names_its_place(monkeypatch):
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "false")
    ours = NotReady("validation 0.4")
    assert unquoted(ours) is ours
    try:
        raise KeyError(MARKER)
    except KeyError as error:
        told = str(unquoted(error))
    assert MARKER not in told and "KeyError at" in told and "test_texts.py" in told


@pytest.mark.parametrize("questions", [[MARKER], MARKER, [f"/{MARKER}"], {"a": MARKER}])
def test_questions_in_words_are_refused_before_prefect_has_them(questions, monkeypatch):
    import json

    body = json.dumps({"parameters": {"questions": questions}}).encode()
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "false")
    assert "FUGU_SHOW_TEXTS" in (_refusal(body) or "") and MARKER not in (_refusal(body) or "")
    assert _refusal(b'{"parameters": {"questions": "/q.jsonl"}}') is None
    assert _refusal(b'{"parameters": {"questions": "house"}}') is None
    with pytest.raises(BadInput, match="FUGU_SHOW_TEXTS"):
        load_inputs(questions)
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "true")
    assert _refusal(body) is None


def test_a_file_needs_questions_alone(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "a"}\n{"messages": [{"role": "user", "content": "b"}]}\n')
    assert [messages[0]["content"] for messages in load_inputs(str(file))] == ["a", "b"]
