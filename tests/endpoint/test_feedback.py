"""What callers say of answers: of each form's id, by its owner alone, once; apart from measured labels."""

from __future__ import annotations

import pytest

from models.ledger.access.keys import make_key
from models.ledger.access.policy import Policy
from models.ledger.kept.feedback import feedback_of
from models.ledger.labels import labels

ADA = {"kind": "worker", "worker": "ada"}
FORMS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 99},
    "/v1/responses": {"input": "hi"},
}


def say(here, id, headers=None, **fields):
    return here.raw.post("/v1/feedback", json={"request_id": id, **fields}, headers=headers or {})


def asked(here, path="/v1/chat/completions", model="fugu", headers=None):
    """The id of an answer, as its client has it."""
    return here.raw.post(path, json={"model": model, **FORMS[path]}, headers=headers or {}).json()["id"]


@pytest.mark.parametrize("model", ["fugu", "fugu-ultra"])
def test_of_every_forms_answers_and_the_last_word_of_a_kind_holds(house, upstream, plan, ledger, model):
    with house(fugu=ADA, plan=plan(("ada", "answer", []))) as here:
        for path in FORMS:
            id = asked(here, path, model)
            first = say(here, id, score=0.25)
            assert first.status_code == 200, first.text
            assert first.json() == say(here, id, score=0.25).json()
            assert {**first.json(), "created": 0} == {
                "object": "feedback", "request_id": id, "score": 0.25, "kind": "opinion", "created": 0,
            }  # fmt: skip
            assert say(here, id, score=1).json()["created"] == first.json()["created"]
            assert say(here, id, score=1, kind="outcome").status_code == 200
    found = feedback_of(ledger)
    assert found.to_dict("list") == {
        "worker": ["ada"] * 2, "kind": ["opinion", "outcome"], "score": [1.0, 1.0], "n": [4, 4],
    }  # fmt: skip
    assert labels(ledger).empty


def test_what_there_is_not_or_is_anothers_is_a_404(house, upstream, ledger):
    keys = [make_key(ledger, name, Policy(scopes=("chat",)))[1] for name in ("mine", "yours")]
    mine, yours = ({"Authorization": f"Bearer {key}"} for key in keys)
    with house(fugu=ADA, needs_key=True) as here:
        id = asked(here, headers=mine)
        for answer in (say(here, id, yours, score=1), say(here, "chatcmpl-none", mine, score=1)):
            assert answer.status_code == 404 and answer.json()["error"]["param"] == "request_id"
        assert say(here, id, score=1).status_code == 401
        shaped = say(here, id, {"anthropic-version": "2023-06-01"}, score=1).json()
        assert set(shaped) == {"error"}  # this path has one form, at its door too
        assert say(here, id, mine, score=1).status_code == 200
    assert feedback_of(ledger)["n"].sum() == 1


def test_an_answer_that_failed_has_none(house, upstream):
    with house(fugu={"kind": "worker", "worker": "e400"}) as here:
        headers = {"Idempotency-Key": "k"}
        body = {"model": "fugu", "messages": [{"role": "user", "content": "hi"}]}
        failed = here.raw.post("/v1/chat/completions", json=body, headers=headers)
        assert failed.status_code == 400
        assert say(here, failed.headers["X-Request-Id"], score=1).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"score": 2}, "score"), ({"score": "good"}, "score"), ({}, "score"), ({"score": 1, "kind": "fact"}, "kind"),
        ({"score": 1, "comment": "why"}, "comment"), ({"score": 1, "request_id": ""}, "request_id"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(house, wrong, param):
    with house(fugu=ADA) as here:
        answer = here.raw.post("/v1/feedback", json={"request_id": "chatcmpl-1", **wrong})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
