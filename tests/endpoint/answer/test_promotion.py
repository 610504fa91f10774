"""A promotion is picked up while requests run, and none of them notices."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.ledger import registry
from tasks.setup.router import load_router

HELLO = [{"role": "user", "content": "hello"}]


def only(worker):
    return {"kind": "worker", "worker": worker}


def until(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline


def test_promotions_back_and_forth_drop_no_request(house, upstream, ledger, router):
    served, _ = router([("count", None)])
    with house(fugu=only("echo"), routers=served["routers"], poll_s=0.01) as here:
        stop, statuses, texts = threading.Event(), [], set()

        def client():
            while not stop.is_set():
                answer = here.raw.post("/v1/chat/completions", json={"model": "fugu", "messages": HELLO})
                statuses.append(answer.status_code)
                texts.add(answer.json()["choices"][0]["message"]["content"])

        with ThreadPoolExecutor() as clients:
            running = [clients.submit(client) for _ in range(3)]
            for target in (served["fugu"], only("echo"), served["fugu"]):
                before = len(statuses)
                registry.promote(ledger, "fugu", target, "test")
                until(lambda before=before: len(statuses) > before + 10)
            registry.rollback(ledger, "fugu")
            stop.set()
            for each in running:
                each.result()
    assert set(statuses) == {200} and texts == {"one two three", "1 messages"}


@pytest.fixture
def tiny_router(tmp_path):
    """A real router on a random two-layer Qwen3 with a byte-level tokenizer; a head of zeros, so the first wins."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from models.fugu.router import Router

    alphabet = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    config = Qwen3Config(
        vocab_size=256, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "backbone")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "backbone")
    workers = ("echo", "count")
    return Router.from_vector(tmp_path / "backbone", np.zeros((len(workers) + 3) * 16), workers, layout="head")


def test_a_stored_router_is_loaded_and_serves_both_models(house, upstream, ledger, tiny_router):
    checkpoint = registry.save_checkpoint(ledger, name="tiny", vector=tiny_router.vector, meta=tiny_router.meta)
    target = {"kind": "router", "checkpoint": checkpoint}
    from models.fugu.microbatch import MicroBatcher

    load = lambda id: MicroBatcher(load_router(registry.load_checkpoint(ledger, id)))  # noqa: E731
    with house(fugu=target, load=load) as here:
        for model in ("fugu", "trinity"):
            create = here.client.chat.completions.create
            answer = create(model=model, messages=HELLO, extra_headers={"X-Fugu-Trace": "1"})
            assert answer.choices[0].message.content == "one two three" and answer.fugu["worker"] == "echo"
        only_count = {"fugu": {"allowed_workers": ["count"]}}
        answer = create(model="fugu", messages=HELLO, extra_body=only_count)
        assert answer.choices[0].message.content == "1 messages"
        nobody = here.raw.post(
            "/v1/chat/completions",
            json={"model": "fugu", "messages": HELLO, "fugu": {"allowed_workers": ["calc"]}},
        )
        assert nobody.status_code == 400 and nobody.json()["error"]["code"] == "no_worker_allowed"


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_in_its_seat(house, upstream, ledger, caplog):
    with house(fugu=only("echo")) as here:
        broken = registry.save_checkpoint(ledger, name="broken", vector=np.ones(1, np.float32), meta={})
        registry.promote(ledger, "fugu", {"kind": "router", "checkpoint": broken}, "test")
        until(lambda: "cannot serve" in caplog.text)
        answer = here.client.chat.completions.create(model="fugu", messages=HELLO)
        assert here.raw.get("/readyz").status_code == 200
    assert answer.choices[0].message.content == "one two three"


def test_the_list_of_models_names_all(house):
    with house(fugu=only("echo")) as here:
        assert [model.id for model in here.client.models.list()][:3] == ["fugu", "trinity", "fugu-ultra"]
        assert here.client.models.retrieve("trinity").created > 0
