"""Local models as real processes, started by `fugu worker serve` and asked by the real `openai` client and by ours."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import httpx
import openai
import pytest

from models.errors import UpstreamUnavailable
from models.workers.ask import Ask, Sampling
from models.workers.dispatch import Dispatcher
from tasks.setup.settings import open_pool

pytestmark = pytest.mark.programs

SAID = [{"role": "user", "content": "What is 17 + 25?"}]


async def whole(client, name="own", messages=SAID, **more):
    return await client.chat.completions.create(model=f"local/{name}", messages=messages, max_tokens=12, **more)


async def streamed(client, **more):
    more |= {"stream": True, "stream_options": {"include_usage": True}}
    return [chunk async for chunk in await whole(client, **more)]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def test_a_streamed_answer_is_the_whole_one_token_by_token_with_the_same_usage(serving):
    async with serving.client() as client:
        once, chunks = await whole(client, temperature=0), await streamed(client, temperature=0)
    assert text_of(chunks) == once.choices[0].message.content != ""
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 3
    assert chunks[-1].usage == once.usage
    assert once.usage.completion_tokens == 12 and once.usage.total_tokens == once.usage.prompt_tokens + 12
    assert once.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "length"


async def test_a_seed_repeats_a_sample_and_another_one_does_not(serving):
    async with serving.client() as client:
        first, again, other = [
            (await whole(client, temperature=1.5, seed=seed)).choices[0].message.content for seed in (1, 1, 2)
        ]
    assert first == again != other


async def test_an_answer_ends_before_a_stop_whole_and_streamed(serving):
    async with serving.client() as client:
        text = (await whole(client, temperature=0)).choices[0].message.content
        stop = text[4:6]
        once = await whole(client, temperature=0, stop=[stop, "never said"])
        chunks = await streamed(client, temperature=0, stop=stop)
    assert once.choices[0].message.content == text_of(chunks) == text[: text.index(stop)]
    assert once.choices[0].finish_reason == "stop" and once.usage.completion_tokens < 12


async def test_penalties_and_template_arguments_reach_the_model(serving):
    async with serving.client() as client:
        plain = await whole(client, temperature=0)
        punished = await whole(client, temperature=0, presence_penalty=2, frequency_penalty=2)
        others = await whole(client, temperature=0, messages=[{"role": "system", "content": "Be brief."}, *SAID])
    assert punished.choices[0].message.content != plain.choices[0].message.content
    assert others.usage.prompt_tokens > plain.usage.prompt_tokens


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0]",
        ),
    ],
)
async def test_a_field_that_cannot_be_honoured_is_a_400_that_names_it(serving, more, field):
    async with serving.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await whole(client, **more)
    assert caught.value.param.startswith(field)


async def test_a_prompt_longer_than_the_model_reads_is_a_400(serving):
    async with serving.client() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await whole(client, messages=[{"role": "user", "content": "x" * 250_000}])
    assert caught.value.code == "context_length_exceeded"


async def test_only_callers_with_the_key_and_the_ports_own_name_get_in(serving):
    note = serving.note()
    file = next((serving.home / "local").glob("*.json"))
    assert file.stat().st_mode & 0o077 == 0
    with httpx.Client(base_url=note.url, trust_env=False) as http:
        right = {"authorization": f"Bearer {note.key}"}
        assert http.get("/models").status_code == 401
        assert http.get("/models", headers={"authorization": "Bearer x"}).status_code == 401
        assert http.get("/models", headers=right | {"host": "evil.example"}).status_code == 403
        assert http.get("/models", headers=right | {"origin": "https://evil.example"}).status_code == 403
        (model,) = http.get("/models", headers=right).json()["data"]
        assert model["id"] == "local/own" and model["chat_template"] == "own"
        assert http.get(note.url.removesuffix("/v1") + "/livez").text == "ok"


async def test_who_leaves_stops_the_answer_and_a_full_line_says_when_to_come_back(serving):
    async with serving.client() as client:
        stream = await client.chat.completions.create(
            model="local/own", messages=SAID, max_tokens=100_000, temperature=0, stream=True
        )
        await anext(stream)
        await anext(stream)
        with pytest.raises(openai.RateLimitError) as full:
            await whole(client)
        assert int(full.value.response.headers["retry-after"]) >= 1
        await stream.close()
        reply = None
        while reply is None:  # the answer under way ends with its next token
            try:
                reply = await whole(client)
            except openai.RateLimitError:
                await asyncio.sleep(0.02)
    assert reply.usage.completion_tokens == 12
    assert cancelled(serving.log("own"))[-1] < 100_000


async def test_who_leaves_without_a_stream_stops_the_answer_too(serving):
    async with serving.client() as client:
        long = {"model": "local/own", "messages": SAID, "max_tokens": 100_000, "temperature": 0}
        asked = asyncio.create_task(client.chat.completions.create(**long))
        refused = False
        while not refused:  # until it is under way
            try:
                await whole(client)
            except openai.RateLimitError:
                refused = True
            if asked.done():  # it came while the other one was answered
                assert isinstance(asked.exception(), openai.RateLimitError)
                asked, refused = asyncio.create_task(client.chat.completions.create(**long)), False
        before = cancelled(serving.log("own"))
        asked.cancel()
        reply = None
        while reply is None:
            try:
                reply = await whole(client)
            except openai.RateLimitError:
                await asyncio.sleep(0.02)
    assert reply.usage.completion_tokens == 12
    assert len(cancelled(serving.log("own"))) == len(before) + 1


def cancelled(log):
    """The tokens that were generated for each answer that nobody waited for."""
    lines = [json.loads(line) for line in log.splitlines() if '"cancelled"' in line]
    return [line["completion_tokens"] for line in lines]


@pytest.fixture
def opened(serving, monkeypatch, tmp_path):
    monkeypatch.setenv("FUGU_HOME", str(serving.home))
    return open_pool(serving.pool)


def ask(worker, **sampling):
    messages = ({"role": "user", "content": "What is 17 + 25?"},)
    return Ask(scope="t", worker=worker, revision="1", messages=messages, sampling=Sampling(**sampling))


async def test_workers_of_a_pool_are_asked_at_the_address_that_the_home_knows(opened, ledger):
    dispatcher = Dispatcher(ledger, opened)
    try:
        one, two = await asyncio.gather(dispatcher.ask(ask("one", temperature=0)), dispatcher.ask(ask("two")))
        chunks = [chunk async for chunk in dispatcher.stream(ask("again", temperature=0))]
    finally:
        await dispatcher.close()
    assert one.usage.completion_tokens == 20 and not one.usage.estimated and one.cost_usd == 0 and two.text
    assert one.text.startswith(chunks[-1].reply.text) and chunks[-1].reply.usage.completion_tokens == 5


def test_pool_check_says_which_model_has_no_chat_template(serving):
    checked = serving.fugu("pool", "check", str(serving.pool))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    said = [line for line in checked.stdout.splitlines() if "plain one is used" in line]
    assert len(said) == 1 and "abilities" in said[0]


def test_a_model_is_served_once_in_a_home(serving):
    again = serving.fugu("worker", "serve", "local/own")
    assert again.returncode == 2 and "already served" in again.stderr


def test_a_model_that_is_not_there_is_one_line_before_anything_starts(serving, tmp_path):
    (tmp_path / "p.yaml").write_text("workers: [{name: w, model: local/none.gguf}]")
    file = f"there is no {serving.home}/weights/none.gguf; README.md says how to get a model"
    missing = serving.fugu("worker", "serve", "local/none.gguf")
    assert (missing.returncode, missing.stderr) == (2, f"fugu: local/none.gguf: {file}\n")
    free = ("--port", "0", "--prefect-port", "0")
    missing = serving.fugu("up", *free, "--pool", str(tmp_path / "p.yaml"))
    assert (missing.returncode, missing.stderr) == (2, f"fugu: worker 'w': local/none.gguf: {file}\n")


async def test_a_model_that_does_not_run_is_one_error_that_names_the_command(serving, opened, ledger):
    """The last test: it ends the model's process."""
    os.kill(serving.note("plain").pid, signal.SIGKILL)
    serving.process.wait(20)  # as all of a home's processes end when one has failed
    dispatcher = Dispatcher(ledger, opened)
    try:
        with pytest.raises(UpstreamUnavailable) as caught:
            await dispatcher.attempt(ask("one"))
    finally:
        await dispatcher.close()
    assert "start one with `fugu worker serve local/own`" in str(caught.value) and not caught.value.maybe_paid
