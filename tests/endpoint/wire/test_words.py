"""What a client reads of an error: an upstream's words, and nothing of ours."""

import logging

import pytest

from deployments.endpoint.logs import JsonLines
from deployments.endpoint.wire.problems import problem_of
from deployments.endpoint.wire.words import plain
from models.errors import BadFile, FuguError, UpstreamRefused

OURS = [
    "cannot read /srv/fugu/home/ledger.db",
    "FileNotFoundError: [Errno 2] No such file or directory: '/root/.fugu/conductors/house'",
    "fixed:/etc/fugu/plan.txt",
    'bad\nTraceback (most recent call last):\n  File "/usr/lib/python3/x.py", line 3, in f\nZeroDivisionError',
    '  File "/opt/fugu/models/x.py", line 12, in ask',
    "headers: {'Authorization': 'Bearer abcdefgh12345678', 'x-api-key': 'topsecretvalue'}",
    "Incorrect API key provided: sk-proj-abcdefghijklmnop1234",
    "api_key=topsecretvalue refused",
    "X-Internal-Trace: topsecretvalue",
]
WORDS = ["/srv", "/root", "/etc", "/usr", "/opt", "Traceback", "abcdefgh", "topsecret", "line 12"]


@pytest.mark.parametrize("text", OURS)
def test_no_path_traceback_header_or_key(text):
    told = problem_of(UpstreamRefused(f"worker 'ada': {text}", 400), trace=True).message
    assert [word for word in WORDS if word in told] == []


@pytest.mark.parametrize("text", ["see https://host/v1/chat/completions", "either and/or both", "3/4 of 1/2", "a: b"])
def test_an_upstreams_own_words_stay(text):
    assert plain(text) == text


def test_a_file_of_ours_is_no_callers_business():
    problem = problem_of(BadFile("/srv/plan.txt", "cannot be read"), trace=True)
    assert problem.status == 503 and "plan" not in problem.message


def test_an_error_in_the_log_has_its_place_and_not_its_words():
    try:
        try:
            raise ValueError("marker")
        except ValueError as inner:
            raise UpstreamRefused("marker", 400) from inner
    except FuguError as error:
        record = logging.LogRecord("uvicorn.error", 40, "x.py", 1, "a fault", (), (type(error), error, None))
    line = JsonLines().format(record)
    assert "marker" not in line and "ValueError" in line and "UpstreamRefused" in line and "test_words.py" in line


def test_what_a_library_says_is_named_and_not_repeated(monkeypatch):
    record = logging.LogRecord("LiteLLM", 40, "x.py", 7, "input_value='marker'", (), None)
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "false")
    line = JsonLines().format(record)
    assert "marker" not in line and "LiteLLM" in line
    monkeypatch.setenv("FUGU_SHOW_TEXTS", "true")
    assert "marker" in JsonLines().format(record)
