"""No worker is asked for what it surely cannot read: prompts beyond its `context`, images."""

from __future__ import annotations

import pytest

from deployments.begin.knowledge import known
from models.workers.ask import fewest_tokens
from models.workers.fitting.taking import reads
from models.workers.pool import Abilities, Pool, Worker
from models.workers.translation import load_litellm

ECHO = {"kind": "worker", "worker": "echo"}
SEES = Abilities(images=True)
MADE = {"echo": (100, Abilities(images=False)), "count": (1000, Abilities(images=False)), "ada": (None, SEES)}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]


@pytest.fixture
def pool(pool):
    """The endpoint's pool, in which `echo` reads 100 tokens, `count` 1,000, and neither sees images. The map of litellm
    knows the model of `e400`."""

    def made(worker):
        context, abilities = MADE.get(worker.name, (None, worker.abilities))
        model = "openai/gpt-3.5-turbo" if worker.name == "e400" else worker.model
        return worker.model_copy(update={"context": context, "abilities": abilities, "model": model})

    return Pool(name="test", workers=tuple(map(made, pool.workers)))


@pytest.fixture
def answered(house):
    """What the endpoint answers to a message, among some workers, of which `echo` is the best."""
    with house(fugu=ECHO) as here:

        def ask(content, *workers, model="fugu", **fields):
            body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
            body["fugu"] = {"allowed_workers": workers}
            return here.raw.post("/v1/chat/completions", json=body, headers={"X-Fugu-Trace": "1"})

        yield ask


def test_a_prompt_that_cannot_fit_a_worker_goes_to_another(answered):
    words = "word " * 300
    for content, fields, worker in (
        ("hi", {}, "echo"),
        ("hi", {"max_tokens": 50}, "echo"),
        (words, {}, "count"),
        ([{"type": "text", "text": words}], {}, "count"),
        ("hi", {"max_tokens": 150}, "count"),
        ("word " * 3000, {}, "ada"),
    ):
        answer = answered(content, "echo", "count", "ada", **fields)
        assert (answer.status_code, answer.headers["X-Fugu-Worker"]) == (200, worker)


@pytest.mark.parametrize("model", ["fugu", "trinity", "fugu-ultra"])
def test_a_prompt_that_fits_no_worker_is_refused_in_words_and_nothing_is_asked(model, answered, upstream):
    refused = answered("word " * 3000, "echo", "count", model=model, max_tokens=20)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "messages") and upstream.seen == []
    assert "at least 1,500 tokens" in error["message"] and "20 tokens: the most is 1,000" in error["message"]


def test_an_image_goes_to_no_model_of_which_the_map_says_that_it_does_not_see(answered, upstream):
    answer, refused = answered(IMAGE, "e400", "ada"), answered(IMAGE, "e400")
    assert (answer.status_code, answer.headers["X-Fugu-Worker"]) == (200, "ada")
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "no worker here reads images")
    assert [seen["model"] for seen in upstream.seen] == ["ada"]


def test_an_image_goes_to_a_worker_that_sees_or_is_refused(answered, upstream):
    answer, refused = answered(IMAGE, "echo", "ada"), answered(IMAGE, "echo", "count")
    assert (answer.status_code, answer.headers["X-Fugu-Worker"]) == (200, "ada")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
    assert [seen["model"] for seen in upstream.seen] == ["ada"]


KNOWN = {
    "openai/gpt-3.5-turbo": False,
    "deepseek/deepseek-chat": False,
    "groq/openai/gpt-oss-20b": False,
    "openai/gpt-5-nano": True,
    "anthropic/claude-sonnet-4-5": True,
    "gemini/gemini-2.5-flash": True,
    "openai/Qwen3-8B": None,
    "azure/my-deployment": None,
    "hosted_vllm/gpt-3.5-turbo": None,
    "ollama/llama3": False,
}


@pytest.mark.parametrize("model", KNOWN)
def test_the_routing_and_the_pool_check_read_the_same_map_of_who_sees(model):
    worker = Worker(name="w", model=model, price={})
    assert reads(worker, "images") is (KNOWN[model] is not False)
    if not model.startswith("ollama/"):  # `known` would ask its server
        assert known(model).images is KNOWN[model]
    for said in (True, False):
        assert reads(worker.model_copy(update={"abilities": Abilities(images=said)}), "images") is said


@pytest.mark.parametrize("text", ["one two  three\n\nfour", "x" * 300, "=" * 128, "你好世界", "", "a b c d e f g h i"])
def test_the_estimate_is_below_what_a_tokenizer_counts(text):
    counted = load_litellm().token_counter(model="gpt-4", text=text)
    assert 0 <= fewest_tokens([{"role": "user", "content": text}]) <= counted
