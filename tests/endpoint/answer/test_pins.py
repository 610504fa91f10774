"""A version of a model can be pinned: it answers after another one was promoted, and answers say which it was."""

from __future__ import annotations

import openai
import pytest

from models.ledger import registry

HELLO = [{"role": "user", "content": "hello"}]
TRACE = {"X-Fugu-Trace": "1"}


def only(worker):
    return {"kind": "worker", "worker": worker}


def pins(here):
    """Each name's pin, as the list of models says it."""
    return {model.id: getattr(model, "pin", None) for model in here.client.models.list() if "@" not in model.id}


def answered(here, model):
    return here.client.chat.completions.create(model=model, messages=HELLO, extra_headers=TRACE)


def test_a_pinned_version_is_served_after_it_was_replaced(house, upstream, ledger, router, caplog):
    served, _ = router([("count", None)])
    with house(fugu=served["fugu"], routers=served["routers"]) as here:
        pin = pins(here)["fugu"]
        assert pin == f"fugu@{served['fugu']['checkpoint'][:12]}"
        assert answered(here, pin).choices[0].message.content == "1 messages"
        registry.promote(ledger, "fugu", only("echo"), "test")
        while pins(here)["fugu"] == pin:
            pass
        now, old = answered(here, "fugu"), answered(here, pin)
        short = answered(here, pin[:13])
        assert here.client.models.retrieve(pin).pin == pin
    assert now.choices[0].message.content == "one two three" and now.fugu["pin"] not in (pin, None)
    for reply in (old, short):
        assert reply.choices[0].message.content == "1 messages" and reply.fugu["pin"] == pin
    assert (old.model, short.model) == (pin, pin[:13])
    logged = [record.fields["pin"] for record in caplog.records if getattr(record, "fields", {}).get("pin")]
    assert not logged or logged[-1] == pin


def test_every_name_says_its_pin_and_each_pin_answers(house, plan, upstream):
    with house(fugu=only("echo"), plan=plan(("echo", "say it", []))) as here:
        listed = [model.id for model in here.client.models.list()]
        assert listed[:3] == ["fugu", "trinity", "fugu-ultra"] and sorted(listed[3:]) == sorted(pins(here).values())
        for pin in listed[3:]:
            reply = answered(here, pin)
            assert reply.model == reply.fugu["pin"] == pin
            assert reply.choices[0].message.content == "one two three"
            assert here.client.models.retrieve(pin).id == pin


@pytest.mark.parametrize("model", ["fugu@000000000000", "fugu@", "trinity@abc", "fugu-ultra@000000", "gpt@1234567"])
def test_a_version_that_there_is_not_is_a_404_that_says_what_serves(house, plan, model):
    with house(fugu=only("echo"), plan=plan(("echo", "say it", []))) as here:
        serving = pins(here).get(model.partition("@")[0], "does not exist")
        for ask in (lambda: answered(here, model), lambda: here.client.models.retrieve(model)):
            with pytest.raises(openai.NotFoundError) as refused:
                ask()
            assert refused.value.code == "model_not_found" and serving in str(refused.value)


def test_a_replaced_version_that_cannot_be_loaded_any_more_is_a_404(house, ledger, router):
    served, _ = router([("count", None)])
    registry.promote(ledger, "fugu", served["fugu"], "before")
    with house(fugu=only("echo")) as here, pytest.raises(openai.NotFoundError, match="can no longer be loaded"):
        answered(here, f"fugu@{served['fugu']['checkpoint'][:12]}")


def test_the_pin_of_a_conductor_that_was_replaced_is_a_404_that_says_which_one_plans_now(house, plan, upstream):
    with house(fugu=only("echo"), plan=plan(("echo", "say it", []))) as here:
        old = pins(here)["fugu-ultra"]
        assert answered(here, old).choices[0].message.content == "one two three"
    with house(fugu=only("echo"), plan=plan(("count", "count them", []))) as here:
        now, before = pins(here)["fugu-ultra"], len(upstream.seen)
        assert now != old
        for ask in (lambda: answered(here, old), lambda: here.client.models.retrieve(old)):
            with pytest.raises(openai.NotFoundError, match=now) as refused:
                ask()
            assert refused.value.code == "model_not_found"
        refused = here.raw.post("/v1/messages", json={"model": old, "max_tokens": 9, "messages": HELLO})
        assert refused.status_code == 404 and refused.json()["error"]["type"] == "not_found_error"
        refused = here.raw.post("/v1/responses", json={"model": old, "input": "hello"})
        assert refused.status_code == 404 and refused.json()["error"]["code"] == "model_not_found"
        assert here.raw.post("/v1/estimate", json={"model": old, "messages": HELLO}).status_code == 404
        assert len(upstream.seen) == before
        assert answered(here, now).choices[0].message.content.endswith(" messages")
