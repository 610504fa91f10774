"""`Idempotency-Key` on the models without a workflow: one key is one request, whole or streamed, and after a kill."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from request_rows import recent_requests

from models.ledger import registry
from models.ledger.requests import get_request

ADA = {"kind": "worker", "worker": "ada"}
SILENT = {"kind": "worker", "worker": "silent"}
STALL = {"kind": "worker", "worker": "stall"}
ONE = {"Idempotency-Key": "one"}


def text_of(streamed: str) -> str:
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("model", ["fugu", "trinity"])
def test_the_same_key_gets_the_same_answer_and_pays_once(house, post, upstream, ledger, model):
    with house(fugu=ADA) as here:
        first, again = post(here, ONE, model=model), post(here, ONE, model=model)
        traced = post(here, {**ONE, "X-Fugu-Trace": "1"}, model=model)
        streamed = post(here, ONE, model=model, stream=True)
        assert first.status_code == 200 and first.content == again.content
        assert first.headers["x-request-id"] == streamed.headers["x-request-id"] == first.json()["id"]
        assert text_of(streamed.text) == first.json()["choices"][0]["message"]["content"] == "ada: hello"
        assert traced.json()["fugu"]["worker"] == traced.headers["x-fugu-worker"] == "ada"
        assert post(here, ONE, model=model, seed=1).json()["error"]["code"] == "idempotency_key_reused"
        assert post(here, {"Idempotency-Key": "two"}, model=model).json()["id"] != first.json()["id"]
    assert len(upstream.seen) == 2 and len(recent_requests(ledger)) == 2
    row = get_request(ledger, first.json()["id"])
    assert (row["status"], row["worker"], row["prompt_tokens"]) == (200, "ada", 5) and "one" not in row["key"]


def test_keys_of_two_api_keys_are_two(house, key, post, upstream):
    with house(fugu=ADA) as here:
        ids = {post(here, key(name) | ONE).json()["id"] for name in ("a", "b")}
        assert len(ids) == 2 and len(upstream.seen) == 2


def test_who_comes_later_gets_the_stream_from_its_beginning(house, post, upstream, until):
    with house(fugu=STALL) as here, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(post, here, ONE, stream=True)]
        until(lambda: len(upstream.seen) == 1)
        asked += [pool.submit(post, here, ONE, stream=stream) for stream in (True, False)]
        assert post(here, ONE, seed=1).status_code == 409
        upstream.released.set()
        streams = [text_of(answer.result().text) for answer in asked[:2]]
        assert streams == ["one two three"] * 2
        assert asked[2].result().json()["choices"][0]["message"]["content"] == "one two three"
    assert len(upstream.seen) == 1


def test_a_client_that_leaves_does_not_end_it(house, post, upstream, until, ledger):
    with house(fugu=SILENT) as here:
        with pytest.raises(Exception, match="timed out"):
            here.raw.post(
                "/v1/chat/completions",
                json={"model": "fugu", "messages": [{"role": "user", "content": "hello"}]},
                headers=ONE,
                timeout=1.0,
            )
        assert upstream.arrived.wait(10)
        upstream.released.set()
        assert post(here, ONE).status_code == 200
    assert len(upstream.seen) == 1 and not upstream.gone.is_set()


def test_another_process_finds_what_a_lost_one_has_paid(house, post, upstream, ledger):
    from sqlalchemy import update

    from models.ledger.tables import requests

    with house(fugu=ADA) as here:
        first = post(here, ONE)
    row = get_request(ledger, first.json()["id"])
    # As a process leaves it that is killed after its call was settled and before its answer was recorded.
    lost = {name: row[name] for name in ("id", "model", "created", "key", "digest", "owner", "user", "stream")}
    with ledger.transaction() as connection:
        body = {**lost, "status": "running", "process": "gone 1 1", "body": None}
        connection.execute(update(requests).where(requests.c.id == row["id"]).values(body=body))
    with house(fugu=ADA) as here:
        assert post(here, ONE).content == first.content
    assert len(upstream.seen) == 1 and get_request(ledger, row["id"])["status"] == 200


def test_a_failed_request_may_be_sent_again_and_a_refused_one_does_not_use_up_its_key(house, post, upstream):
    with house(fugu=ADA) as here:
        assert post(here, ONE, fugu={"allowed_workers": ["nobody"]}).status_code == 400
        upstream.failing.add("hello")
        failed = {"allowed_workers": ["ada"]}
        assert post(here, ONE, fugu=failed).status_code == 502
        upstream.failing.clear()
        assert post(here, ONE, fugu=failed).status_code == 200
        assert post(here, ONE).status_code == 409


@pytest.mark.parametrize("model", ["fugu", "trinity"])
@pytest.mark.parametrize("stream", [False, True])
def test_two_processes_at_once_pay_once_also_when_another_champion_is_promoted_between(
    house, post, upstream, until, ledger, model, stream
):
    with house(fugu=SILENT) as one, house(fugu=SILENT) as two, ThreadPoolExecutor(4) as pool:
        first = pool.submit(post, one, ONE, model=model, stream=stream)
        assert upstream.arrived.wait(10)
        before = pin_of(two, model)
        registry.promote(ledger, model, ADA, "test")
        until(lambda: pin_of(two, model) != before)
        second = pool.submit(post, two, ONE, model=model, stream=stream)
        begun = 'fugu_requests_in_flight{wire="/v1/chat/completions"} 1.0'
        until(lambda: begun in two.raw.get("/metrics").text)
        assert not second.done() and {body["model"] for body in upstream.seen} == {"silent"}
        upstream.released.set()
        said = [text_of(each.result().text) if stream else each.result().content for each in (first, second)]
        assert said[0] == said[1] and first.result().status_code == second.result().status_code == 200
        assert len(upstream.seen) == 1
        other = post(two, {"Idempotency-Key": "two"}, model=model).json()  # what was promoted answers all others
        assert other["choices"][0]["message"]["content"] == "ada: hello"


def pin_of(here, model):
    return here.raw.get(f"/v1/models/{model}").json()["pin"]


def test_a_request_that_a_killed_process_began_goes_on_with_its_champion_and_a_failed_one_with_the_new(
    house, post, upstream, ledger
):
    from sqlalchemy import update

    from models.ledger.tables import requests

    with house(fugu=ADA) as here:
        first = post(here, ONE)
        upstream.failing.add("hello")
        assert post(here, {"Idempotency-Key": "two"}, fugu={"failover": False}).status_code == 502
        upstream.failing.clear()
    row = get_request(ledger, first.json()["id"])
    body = {name: value for name, value in row.items() if name not in ("body", "report", "request")}
    with ledger.transaction() as connection:
        lost = {**body, "status": "running", "process": "gone 1 1", "body": None}
        connection.execute(update(requests).where(requests.c.id == row["id"]).values(body=lost))
    with house(fugu={"kind": "worker", "worker": "cy"}) as here:
        assert post(here, ONE).content == first.content
        again = post(here, {"Idempotency-Key": "two"}, fugu={"failover": False})
        assert again.json()["choices"][0]["message"]["content"] == "cy: hello"
    assert [body["model"] for body in upstream.seen] == ["ada", "ada", "cy"]
