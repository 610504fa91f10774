"""Other names of the models are known wherever a model is asked for by its name."""

from __future__ import annotations

import openai
import pytest

HELLO = [{"role": "user", "content": "hello"}]
ECHO = {"kind": "worker", "worker": "echo"}
ALIASES = (("haiku", "trinity"), ("claude-*", "fugu"), ("org/big model", "fugu-ultra"))
ANTHROPICS = {"anthropic-version": "2023-06-01"}


def test_a_model_is_retrieved_by_every_name_that_may_be_asked(house, plan, upstream):
    with house(fugu=ECHO, aliases=ALIASES, plan=plan(("echo", "say it", []))) as here:
        meant = {"haiku": "trinity", "claude-3-5": "fugu", "claude-x/y": "fugu", "org/big model": "fugu-ultra"}
        for name, model in meant.items():
            found = here.client.models.retrieve(name)
            assert (found.id, found.alias_of) == (name, model)
            assert found.pin == here.client.models.retrieve(model).pin
            assert here.client.chat.completions.create(model=name, messages=HELLO).choices
        told = here.raw.get("/v1/models/claude-3-5[1m]", headers=ANTHROPICS).json()
        assert (told["type"], told["id"]) == ("model", "claude-3-5[1m]")
        for name in ("haiku/x", "gpt/4", "haiku@000000"):
            with pytest.raises(openai.NotFoundError) as refused:
                here.client.models.retrieve(name)
            assert refused.value.code == "model_not_found"


def test_an_alias_of_a_version_says_that_one_listed_and_retrieved(house, upstream, ledger):
    from models.ledger import registry

    registry.promote(ledger, "fugu", ECHO, "before")
    pin = f"fugu@{registry.champion(ledger, 'fugu').digest[:12]}"
    with house(fugu={"kind": "worker", "worker": "ada"}, aliases=(("old", pin),)) as here:
        listed = {model.id: model for model in here.client.models.list()}["old"]
        for found in (listed, here.client.models.retrieve("old")):
            assert (found.alias_of, found.pin) == (pin, pin)
        assert here.client.chat.completions.create(model="old", messages=HELLO).model == pin
        assert upstream.seen[-1]["model"] == "echo"
