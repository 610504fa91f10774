"""The house's replies as every worker's come: through the client, whole and streamed."""

import json
import subprocess
import sys

import pytest

from models.errors import UpstreamRefused
from models.house.handler import register
from models.house.provider import COUNTER, complete
from models.workers.ask import Ask, Sampling, Usage
from models.workers.client import Client
from models.workers.pool import Pool, Worker

ASKED = [{"role": "user", "content": "What is 17 * 23?"}]
WHOLE = "Computed exactly.\nAnswer: 391"
POOL = Pool(name="p", workers=tuple(Worker(name=name, model=f"house/{name}") for name in ("calc", "sage", "nobody")))


@pytest.fixture
def client():
    register()
    return Client(POOL)


def ask(worker="calc", messages=ASKED, **sampling):
    return Ask(scope="t", worker=worker, revision="1", messages=tuple(messages), sampling=Sampling(**sampling))


async def test_whole_and_streamed_say_the_same_word_by_word_with_the_same_usage(client):
    whole = await client.complete(ask(seed=3))
    chunks = [chunk async for chunk in client.stream(ask(seed=3))]
    assert (whole.text, whole.finish_reason) == (WHOLE, "stop")
    assert whole.usage == Usage(prompt_tokens=5, completion_tokens=4) and whole.cost_usd == 0
    assert [chunk.text for chunk in chunks if chunk.text] == ["Computed ", "exactly.\n", "Answer: ", "391"]
    streamed = chunks[-1].reply
    assert (streamed.text, streamed.finish_reason, streamed.usage) == (whole.text, whole.finish_reason, whole.usage)


async def test_max_tokens_cuts_the_reply_and_says_so(client):
    whole = await client.complete(ask(max_tokens=2))
    chunks = [chunk async for chunk in client.stream(ask(max_tokens=2))]
    for reply in (whole, chunks[-1].reply):
        assert reply.text.split() == ["Computed", "exactly."]
        assert reply.finish_reason == "length" and reply.usage.completion_tokens == 2


async def test_the_seed_reaches_the_worker(client):
    hard = [{"role": "user", "content": "What is 4711 * 3113?"}]
    assert len({(await client.complete(ask("sage", hard, seed=seed))).text for seed in range(20)}) > 1


async def test_an_unknown_worker_is_refused_by_nobody_who_answered(client):
    with pytest.raises(UpstreamRefused, match="nobody") as caught:
        await client.complete(ask("nobody"))
    assert caught.value.status == 404 and not caught.value.of_the_request


HOUSE_ALONE = """
import asyncio, sys
from models.workers.ask import Ask
from models.workers.client import Client
from tasks.setup.questions import check_models
from tasks.setup.settings import open_pool
pool = open_pool("house")
check_models(pool)
ask = Ask(scope="t", worker="calc", revision="1", messages=({"role": "user", "content": "What is 17 * 23?"},))
print(asyncio.run(Client(pool).complete(ask)).text)
print("litellm" in sys.modules)
"""


def test_a_process_that_asks_the_house_alone_does_without_litellm():
    """Its import takes seconds of each process."""
    done = subprocess.run([sys.executable, "-c", HOUSE_ALONE], capture_output=True, text=True, check=True)
    assert done.stdout == f"{WHOLE}\nFalse\n"


def test_stop_ends_the_reply_before_it():
    assert complete("calc", ASKED, {"stop": ["Answer"]}).text == "Computed exactly.\n"


@pytest.mark.parametrize("stop", ["", [""], [], None])
def test_a_stop_that_is_empty_ends_nothing(stop):
    assert complete("calc", ASKED, {"stop": stop}).text == WHOLE


def test_every_call_is_counted_before_its_reply(tmp_path, monkeypatch):
    path = tmp_path / "calls.jsonl"
    monkeypatch.setenv(COUNTER, str(path))
    for seed in (1, 1, 2):
        complete("calc", ASKED, {"seed": seed})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["worker"] for line in lines] == ["calc"] * 3
    assert lines[0] == lines[1] != lines[2]
