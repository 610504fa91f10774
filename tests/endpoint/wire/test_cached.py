"""What a provider read from its cache, or wrote there, is in every form's usage, and is paid at the cache's price."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from models.ledger.accounts import spend
from models.workers.pool import Pool, Price, Worker

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 3,
    "total_tokens": 103,
    "prompt_tokens_details": {"cached_tokens": 80, "cache_creation_tokens": 15},
}


async def chat(request):
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "so"}}]
    return JSONResponse({"id": "x", "object": "chat.completion", "created": 1, "choices": choices, "usage": USAGE})


@pytest.fixture(scope="module")
def caching(serving):
    with serving(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url:
        yield url


@pytest.fixture
def pool(caching):
    def worker(name, cached):
        price = Price(input_per_million=10, output_per_million=20, cached_input_per_million=cached)
        return Worker(name=name, model=f"openai/{name}", api_base=f"{caching}/v1", price=price)

    return Pool(name="p", workers=(worker("plain", None), worker("cheap", 1.0), worker("dear", 99.0)))


def test_cached_tokens_are_paid_at_their_own_price_and_never_above_the_others(house, ledger):
    paid = {"plain": 1060, "cheap": 20 * 10 + 80 * 1 + 60, "dear": 1060}
    with house(fugu={"kind": "worker", "worker": "plain"}) as here:
        for worker, micro in paid.items():
            before = spend(ledger)["usd"]
            body = {"model": "fugu", "messages": [{"role": "user", "content": "hello"}]}
            own = {"fugu": {"allowed_workers": [worker]}}
            answer = here.raw.post("/v1/chat/completions", json=body | own, headers={"X-Fugu-Cost": "1"})
            assert float(answer.headers["x-fugu-cost"]) == pytest.approx(micro * 1e-6)
            assert spend(ledger)["usd"] - before == pytest.approx(micro * 1e-6)


def test_every_form_says_what_was_read_from_a_cache_and_written_there(house):
    with house(fugu={"kind": "worker", "worker": "plain"}) as here:
        chatted = here.client.chat.completions.create(model="fugu", messages=[{"role": "user", "content": "hello"}])
        assert chatted.usage.prompt_tokens_details.cached_tokens == 80
        responded = here.client.responses.create(model="fugu", input="hello").usage.to_dict()
        assert responded["input_tokens_details"] == {"cached_tokens": 80, "cache_write_tokens": 15}
        body = {"model": "fugu", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        usage = here.raw.post("/v1/messages", json=body).json()["usage"]
        assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (80, 15)
