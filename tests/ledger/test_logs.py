import json

import pytest
from request_rows import recent_requests

from models.errors import BadInput, NotFound
from models.ledger.requests import begin, finish, get_request, record_request
from models.ledger.runs import generations, tell_generation


def test_a_generation_is_told_once(ledger):
    tell_generation(ledger, "run", 1, {"fitness": [0.5]})
    tell_generation(ledger, "run", 0, {"fitness": [0.25]})
    tell_generation(ledger, "run", 1, {"fitness": [0.5]})
    assert [row["fitness"] for row in generations(ledger, "run")] == [[0.25], [0.5]]
    assert generations(ledger, "other") == []


def test_telling_a_generation_otherwise_is_refused_and_changes_nothing(ledger):
    tell_generation(ledger, "run", 0, {"fitness": [0.5]})
    with pytest.raises(BadInput, match="generation 0"):
        tell_generation(ledger, "run", 0, {"fitness": [0.75]})
    assert generations(ledger, "run") == [{"fitness": [0.5]}]


def test_a_request_is_found_by_its_id_and_listed_newest_first(ledger):
    for name in "abc":
        record_request(ledger, {"id": name, "model": "fugu"})
    record_request(ledger, {"id": "a", "model": "trinity"})
    assert get_request(ledger, "a") == {"id": "a", "model": "trinity"}
    assert [row["id"] for row in recent_requests(ledger, 2)] == ["c", "b"]


def test_an_unknown_request_and_a_row_without_an_id_are_errors(ledger):
    with pytest.raises(NotFound):
        get_request(ledger, "none")
    with pytest.raises(BadInput):
        record_request(ledger, {"model": "fugu"})


def change(ledger, change):
    with ledger.transaction() as connection:
        return change(connection, ledger.now(connection))


def test_a_request_that_is_begun_twice_keeps_its_first_row(ledger):
    assert change(ledger, begin(ledger, {"id": "a", "digest": "x", "body": None}))["digest"] == "x"
    assert change(ledger, begin(ledger, {"id": "a", "digest": "y", "body": None}))["digest"] == "x"


def test_the_first_answer_to_a_request_stands_and_keeps_its_bytes(ledger):
    body = {"z": 0.1, "a": "\ud800 \u0000", "m": [None, 1e-9]}
    change(ledger, begin(ledger, {"id": "a", "body": None}))
    change(ledger, finish("a", {"status": "failed"}))
    assert change(ledger, finish("a", {"status": "answered", "body": body}))["status"] == "answered"
    change(ledger, finish("a", {"status": "failed", "body": {}}))
    row = get_request(ledger, "a")
    assert row["status"] == "answered" and json.dumps(row["body"]) == json.dumps(body)
    with pytest.raises(NotFound):
        change(ledger, finish("none", {}))
