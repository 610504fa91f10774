"""Who writes the plan: a prompted model over litellm, a local checkpoint and the house conductor all do."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import torch

from models.conductor.learn.sft import Example, Tuning, tune
from models.conductor.plan.checkpoint import prompt_ids
from models.conductor.plan.prompt import Card
from models.conductor.plan.taught import SETTINGS, Taught
from models.conductor.plan.workflow import Workflow, lint, parse
from models.conductor.plan.writers import (
    READ_CHARS,
    CheckpointWriter,
    FixedWriter,
    PlanRequest,
    PromptedWriter,
    compact_prompt,
    full_prompt,
)
from models.errors import BadFile
from models.house import conductor
from models.house.qwen import fresh, train_tokenizer
from models.workers.ask import Ask
from models.workers.client import Client
from models.workers.pool import Pool, Worker
from tasks.setup.settings import PROJECT

PLAN = """Two skills are needed, one after the other.
model_id = [4, 2]
subtasks = ["Find the capital.", "Count the letters of the result."]
access_list = [[], ["all"]]"""
REQUEST = PlanRequest(
    messages=({"role": "user", "content": "How many letters does the capital of Peru have?"},),
    cards=tuple(Card(ordinal=ordinal, text="") for ordinal in range(6)),
)
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


async def serve(reader, writer):
    """An OpenAI-compatible upstream that says the plan to everybody."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    message = {"role": "assistant", "content": PLAN}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    body = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices})
    body = body[:-1] + f', "usage": {json.dumps(usage)}}}'
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
    writer.write(f"{head}\r\n\r\n{body}".encode())
    writer.close()


@asynccontextmanager
async def prompted():
    """A model of another process, asked over litellm."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    client = Client(Pool(name="p", workers=(Worker(name="planner", model="openai/m", api_base=url),)))

    async def ask(messages):
        reply = await client.complete(Ask(scope="s", worker="planner", revision="1", messages=tuple(messages)))
        return reply.text or ""

    yield PromptedWriter(ask, name="worker:planner")
    server.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with a chat template, trained for seconds on the full prompt of this one request."""
    folder = tmp_path_factory.mktemp("checkpoint")
    messages = full_prompt(REQUEST)
    tokenizer = train_tokenizer([messages[0]["content"], PLAN], 1024)
    tokenizer.chat_template = CHAT
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = fresh(conductor.Recipe(layers=1, width=64, heads=2, key_value_heads=1, inner=128, vocabulary=1024))
    tune(model, tokenizer, [Example(tuple(messages), PLAN)] * 80, Tuning(batch=1, learning_rate=1e-2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder):
    return CheckpointWriter.load(folder, max_tokens=120)


@pytest.fixture(scope="module")
def house():
    return conductor.load(PROJECT / "data" / "conductor")


@pytest.fixture(params=["prompted", "checkpoint", "house"])
async def policy(request, checkpoint, house):
    if request.param == "prompted":
        async with prompted() as policy:
            yield policy
    else:
        yield {"checkpoint": checkpoint, "house": house}[request.param]


async def test_every_policy_writes_a_plan_that_can_be_carried_out(policy):
    first, second = await policy.write(REQUEST), await policy.write(REQUEST)
    plan = parse(first)
    assert isinstance(plan, Workflow) and 1 <= len(plan.steps) <= REQUEST.max_steps
    assert lint(plan, allowed=[True] * 6) == ()
    assert first == second, "no temperature, one plan"
    assert policy.name


async def test_a_fixed_policy_says_what_it_was_given():
    assert await FixedWriter(PLAN).write(REQUEST) == PLAN


def test_after_a_refusal_the_plan_and_the_complaint_are_shown():
    first, *after = full_prompt(replace(REQUEST, refused="model_id = [9]", complaint="there is no Model 9"))
    assert [first] == full_prompt(REQUEST)
    assert after[0] == {"role": "assistant", "content": "model_id = [9]"}
    assert "there is no Model 9" in after[1]["content"]


def test_a_local_model_reads_both_ends_of_a_conversation_that_is_too_long(checkpoint):
    short, long = "x" * READ_CHARS, "begin " + "x" * 10 * READ_CHARS + " end"
    messages = [{"role": "user", "content": short}]
    assert checkpoint._read(asked := PlanRequest(tuple(messages), ())) == full_prompt(asked)
    (read,) = checkpoint._read(PlanRequest(({"role": "user", "content": long}, *messages, *REQUEST.messages), ()))
    assert len(read["content"]) < READ_CHARS + len(full_prompt(PlanRequest((), ()))[0]["content"]) + 100
    assert "user: begin xxx" in read["content"] and f"user: {REQUEST.messages[0]['content']}" in read["content"]


def test_the_compact_prompt_shows_the_last_question_and_who_may_be_asked():
    messages = (
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]},
    )
    cards = (Card(ordinal=1, text="units 0.9"), Card(ordinal=4, text=""))
    assert compact_prompt(PlanRequest(messages, cards)) == "question: What is 2 + 2?\nmodels: 1 4\nsteps: 5\n"
    again = PlanRequest(messages, cards, max_steps=2, previous="Answer: 5")
    assert compact_prompt(again).endswith("models: 1 4\nsteps: 2\nprevious: Answer: 5\n")


def test_who_reads_cards_says_so(folder, house):
    assert PromptedWriter(None).reads_cards and CheckpointWriter.load(folder).reads_cards
    assert not FixedWriter(PLAN).reads_cards
    assert house.reads_cards is (house._prompt is not compact_prompt)


def test_a_folder_says_which_prompt_it_was_trained_with(folder, house):
    assert house._prompt is compact_prompt
    assert CheckpointWriter.load(folder)._prompt is full_prompt


def test_the_chat_template_is_used(folder, checkpoint):
    ids = prompt_ids(checkpoint._tokenizer, [{"role": "user", "content": "Hi"}])
    assert checkpoint._tokenizer.decode(ids) == "user: Hi\nassistant:"


def test_a_sample_follows_its_seed_whoever_shares_the_batch():
    policy = conductor.load(PROJECT / "data" / "conductor", temperature=1.5)
    seeded = [replace(REQUEST, seed=seed) for seed in range(12)]
    together = policy.write_many(seeded)
    assert len(set(together)) > 1
    assert [policy.write_many([each])[0] for each in seeded[:4]] == together[:4]


async def test_requests_that_come_together_each_get_their_own_plan(house):
    texts = ["How many letters does the capital of Peru have?", "What is 17 * 23?", "Reverse the word 'banana'."] * 4
    requests = [PlanRequest(({"role": "user", "content": text},), REQUEST.cards) for text in texts]
    together = await asyncio.gather(*(house.write(each) for each in requests))
    assert together == [house.write_many([each])[0] for each in requests]


async def test_who_stops_waiting_leaves_the_others_served(house):
    waiting = [asyncio.ensure_future(house.write(REQUEST)) for _ in range(4)]
    await asyncio.sleep(0)  # they begin
    waiting[1].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    assert done[0] == done[2] == done[3]


async def test_a_refused_plan_is_not_written_again_word_for_word(house):
    first = await house.write(REQUEST)
    seeds = range(8)
    again = [replace(REQUEST, refused=first, complaint="it cannot be used", seed=seed) for seed in seeds]
    assert any(text != first for text in house.write_many(again))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(BadFile, match=str(tmp_path)):
        CheckpointWriter.load(tmp_path)
    Taught(prompt="compact").write(tmp_path)
    (tmp_path / SETTINGS).write_text('{"prompt": "sonnet"}')
    with pytest.raises(BadFile, match="sonnet"):
        CheckpointWriter.load(tmp_path)
