"""Who gets in: keys, scopes and workers, in front of all models."""

from __future__ import annotations

import base64
from datetime import timedelta

import openai
import pytest
from request_rows import recent_requests

from models.ledger.access.keys import list_keys, revoke_key

ADA = {"kind": "worker", "worker": "ada"}


def test_with_the_first_key_every_request_needs_one(house, key, post, upstream, ledger, until):
    with house(fugu=ADA, secret="the-home's") as here:
        assert post(here).status_code == 200 and here.raw.get("/v1/models").status_code == 200
        bearer = key()
        secret = bearer["Authorization"].removeprefix("Bearer ")
        until(lambda: post(here).status_code == 401)
        for path in ("/v1/models", "/openapi.json", "/nothing"):
            assert here.raw.get(path).status_code == 401
        assert here.raw.get("/livez").status_code == here.raw.get("/readyz").status_code == 200
        client = openai.OpenAI(**{**here.base, "api_key": secret})
        assert client.models.list().data[0].id == "fugu"
        messages = [{"role": "user", "content": "hello"}]
        assert client.chat.completions.create(model="fugu", messages=messages).choices[0].message.content
        assert post(here, {"x-api-key": secret}).status_code == post(here, bearer).status_code == 200
        assert post(here, {"Authorization": "Bearer the-home's"}).status_code == 200
        with pytest.raises(openai.AuthenticationError) as refused:
            client.with_options(api_key=secret[:-1]).models.list()
        assert refused.value.code == "invalid_api_key"
        browser = base64.b64encode(f"me:{secret}".encode()).decode()
        assert here.raw.get("/openapi.json", headers={"Authorization": f"Basic {browser}"}).status_code == 200
        assert post(here, {"Authorization": f"Basic {browser}"}).status_code == 401
        # A key opens no other door.
        assert post(here, {**bearer, "Host": "evil.example"}).status_code == 403
        assert post(here, {**bearer, "Origin": "https://evil.example"}).status_code == 403
    owners = {row["owner"] for row in recent_requests(ledger)}
    [made] = list_keys(ledger)
    assert owners == {None, made.id, "home"} and made.used_at is not None
    assert secret not in str(recent_requests(ledger)) and made.digest != secret


def test_a_revoked_or_expired_key_is_refused_by_all_processes(house, key, post, upstream, ledger, until):
    with house(fugu=ADA) as one, house(fugu=ADA) as two:
        lasting, short = key(), key("short", lives=timedelta(seconds=0))
        assert post(one, lasting).status_code == post(two, lasting).status_code == 200
        assert post(one, short).status_code == 401
        revoke_key(ledger, "ci")
        until(lambda: post(one, lasting).status_code == post(two, lasting).status_code == 401, 4.0)
        assert post(one).status_code == 401  # a home that has had keys stays closed


def test_a_home_can_be_closed_before_it_has_a_key(house, post, upstream):
    with house(fugu=ADA, needs_key=True) as here:
        assert post(here).status_code == 401 and here.raw.get("/livez").status_code == 200


def test_who_answers_is_for_keys_with_the_scope(house, key, post, upstream):
    with house(fugu=ADA) as here:
        chat, trace, none = key("chat"), key("trace", scopes=("chat", "trace")), key("none", scopes=("trace",))
        for headers, fields in (({"X-Fugu-Trace": "1"}, {}), ({}, {"fugu": {"show_work": True}})):
            refused = post(here, chat | headers, **fields)
            assert refused.status_code == 403 and "'trace'" in refused.json()["error"]["message"]
        assert post(here, trace | {"X-Fugu-Trace": "1"}).json()["fugu"]["worker"] == "ada"
        assert post(here, none).json()["error"]["code"] == "insufficient_scope"
        assert here.raw.get("/openapi.json", headers=none).status_code == 200


POLICIES = [
    {"workers": ("bob", "cy")},
    {"denied_workers": ("ada",)},
    {"vendors": ("beta",)},
    {"denied_vendors": ("acme",)},
    {"regions": ("eu",)},
    {"denied_regions": ("us",)},
    {"local_only": True},
]


@pytest.fixture
def pool(pool):
    places = {
        "ada": {"vendor": "acme", "region": "us"},
        "bob": {"vendor": "beta", "region": "eu", "local": True},
        "cy": {"vendor": "beta", "region": "eu", "local": True},
    }
    workers = [worker.model_copy(update=place) for worker in pool.workers if (place := places.get(worker.name))]
    return pool.model_copy(update={"workers": tuple(workers)})


def test_a_key_asks_only_its_workers_through_all_models(house, key, post, upstream, plan):
    with house(fugu=ADA, plan=plan(("ada", "first", []), ("cy", "second", [0]))) as here:
        for number, policy in enumerate(POLICIES):
            mine = key(f"key {number}", **policy)
            for model in ("fugu", "trinity", "fugu-ultra"):
                upstream.seen.clear()
                assert post(here, mine, model=model).status_code == 200
                assert {body["model"] for body in upstream.seen} <= {"bob", "cy"}, (policy, model)
            # The request's own list is held against it, in the field and in the header.
            refused = [
                post(here, mine, fugu={"allowed_workers": ["ada"]}),
                post(here, {**mine, "X-Fugu-Workers": "ada"}),
            ]
            assert {answer.status_code for answer in refused} == {403}
            assert "may not ask ada" in refused[0].json()["error"]["message"]
            both = post(here, {**mine, "X-Fugu-Workers": "ada, cy"}, model="trinity")
            assert both.status_code == 200 and upstream.seen[-1]["model"] == "cy"


def test_a_plan_is_not_written_by_a_worker_that_the_key_may_not_ask(house, key, post, upstream):
    from models.conductor.plan.writers import PromptedWriter
    from models.conductor.run.planner import asker

    with house(fugu=ADA, plan=PromptedWriter(asker("ada"))) as here:
        answer = post(here, key(workers=("cy",)), model="fugu-ultra")
        assert answer.status_code == 200 and {body["model"] for body in upstream.seen} == {"cy"}
