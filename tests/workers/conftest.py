"""A ledger, and a real upstream on loopback that speaks OpenAI's chat protocol, with faults."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field

import pytest

from models.workers.ask import Ask
from models.workers.dispatch import Dispatcher
from models.workers.pool import Limits, Pool, Price, Timeouts, Worker
from models.workers.retry import RetryPolicy

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@dataclass
class Upstream:
    """`script` holds what the next requests meet, in order, then "ok"; `seen` their bodies.

    A status with a body is (status, body, header). `most`: how many were answered at once.
    """

    script: list[str | tuple[str, dict, str]] = field(default_factory=list)
    seen: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # what "gate" waits for
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # a client left before its answer was whole
    url: str = ""
    text: str = "hello"
    running: int = 0
    most: int = 0

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(fields["content-length"])))
        self.seen.append(body)
        self.keys.append(fields.get("authorization", ""))
        self.heads.append(fields)
        self.arrived.set()
        fault = self.script.pop(0) if self.script else "ok"
        answer = self.stream if body.get("stream") else self.whole
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await answer(fault, reader, writer)
        finally:
            self.running -= 1
            writer.close()

    async def whole(self, fault, reader, writer):
        if fault == "hang":
            return await self.wait_for_departure(reader)
        if fault == "gate":
            await self.gate.wait()
            fault = "ok"
        if fault == "cut":
            return writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
        if isinstance(fault, tuple):
            return self.send(writer, *fault)
        if fault != "ok":
            status, _, header = fault.partition(" ")
            return self.send(writer, status, {"error": {"message": f"the upstream says {status}"}}, header)
        message = {"role": "assistant", "content": self.text}
        reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
        self.send(writer, "200", reply | {"id": "x", "object": "chat.completion", "created": 1, "model": "m"})

    async def stream(self, fault, reader, writer):
        if fault not in ("ok", "hang", "cut"):
            return await self.whole(fault, reader, writer)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for text in ("he", "llo"):
            self.event(writer, [{"index": 0, "delta": {"content": text}, "finish_reason": None}])
        if fault == "hang":
            await self.wait_for_departure(reader)
        elif fault == "ok":
            self.event(writer, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
            self.event(writer, [], usage=USAGE)
            writer.write(b"data: [DONE]\n\n")

    async def wait_for_departure(self, reader):
        await reader.read()
        self.gone.set()

    def event(self, writer, choices, **more):
        row = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
        writer.write(f"data: {json.dumps(row | more)}\n\n".encode())

    def send(self, writer, status, value, header=""):
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write((head + (header + "\r\n" if header else "") + "connection: close\r\n\r\n").encode() + body)


@pytest.fixture
async def upstream():
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield upstream
    server.close()


@pytest.fixture
def pool(upstream, monkeypatch):
    """One priced worker behind the upstream, one without a key, one that is only recorded."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-secret")
    monkeypatch.delenv("EMPTY_KEY", raising=False)
    price = Price(input_per_million=1.0, output_per_million=10.0)
    limits, timeouts = Limits(max_output_tokens=50), Timeouts(total_s=20)
    live = {"model": "openai/m", "price": price, "limits": limits, "timeouts": timeouts, "api_base": upstream.url}
    hasty = live | {"timeouts": Timeouts(total_s=0.05)}
    workers = (
        Worker(name="live", key_env="UPSTREAM_KEY", **live),
        Worker(name="hasty", **hasty),
        Worker(name="keyless", key_env="EMPTY_KEY", **live),
        Worker(name="paper", model="recorded/paper"),
    )
    return Pool(name="p", workers=workers)


@pytest.fixture
async def dispatcher(ledger, pool):
    made = []

    def make(client=None, **options):
        made.append(
            Dispatcher(
                ledger, pool, client, **{"retry": RetryPolicy(tries=3, base_s=0, poll_s=0, poll_cap_s=0)} | options
            )
        )
        return made[-1]

    yield make
    for one in made:
        await one.close()


def _chunk(delta, finish=None):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _streamed(body):
    """The chunks of a stream that says the same as a whole reply."""
    if not isinstance(body, dict) or not body.get("choices"):
        return [body, "[DONE]"]
    [one] = body["choices"]
    last = [{"choices": [], "usage": body["usage"]}] if "usage" in body else []
    return [_chunk(one["message"]), _chunk({}, one["finish_reason"]), *last, "[DONE]"]


class Odd:
    """An upstream whose models answer as `answers` has it: a JSON value or text, with `headers` and `status`.

    A list is a stream's events, also for who asked for a whole reply. `asked` counts; `gone`: somebody left early.
    """

    def __init__(self):
        self.answers, self.asked = {}, Counter()
        self.status, self.headers, self.kind = 200, "", None
        self.gone = asyncio.Event()

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.split("\r\n") if line.startswith("content-length"))
        body = json.loads(await reader.readexactly(int(length.partition(":")[2])))
        self.asked[body["model"]] += 1
        answer = self.answers[body["model"]]
        if body.get("stream") and self.status == 200 and not isinstance(answer, list | bytes):
            answer = _streamed(answer)
        kind = self.kind or ("text/event-stream" if isinstance(answer, list) else "application/json")
        head = f"HTTP/1.1 {self.status} X\r\ncontent-type: {kind}\r\n{self.headers}connection: close\r\n\r\n"
        events = answer if isinstance(answer, list) else [answer]
        try:
            writer.write(head.encode())
            for event in events:
                data = (
                    event
                    if isinstance(event, bytes)
                    else (event if isinstance(event, str) else json.dumps(event)).encode()
                )
                writer.write(b"data: " + data + b"\n\n" if isinstance(answer, list) else data)
                await writer.drain()
        except ConnectionError:
            self.gone.set()
        writer.close()


@pytest.fixture
async def odd():
    odd = Odd()
    server = await asyncio.start_server(odd.serve, "127.0.0.1", 0)
    odd.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield odd
    server.close()


@pytest.fixture
async def meet(odd, ledger):
    """`meet(answer, streamed)` -> the reply of a worker that answers so, asked through the dispatcher."""
    worker = Worker(
        name="w",
        model="openai/odd",
        api_base=odd.url,
        price=Price(input_per_million=1, output_per_million=10),
        timeouts=Timeouts(total_s=30),
    )
    retry = RetryPolicy(tries=3, base_s=0, poll_s=0, patience_s=2.0)
    dispatcher = Dispatcher(ledger, Pool(name="p", workers=(worker,)), retry=retry)

    async def ask(answer, streaming=False, scope="s"):
        odd.answers["odd"] = answer
        asked = Ask(scope=scope, worker="w", revision="1", messages=({"role": "user", "content": "hi"},))
        if not streaming:
            return await dispatcher.ask(asked)
        chunks = [chunk async for chunk in dispatcher.stream(asked)]
        reply = chunks[-1].reply
        assert "".join(chunk.text for chunk in chunks) == (reply.text or "")
        assert _put_together([call for chunk in chunks for call in chunk.tool_calls]) == list(reply.tool_calls)
        return reply

    yield ask
    await dispatcher.close()


def _put_together(deltas):
    """What a client makes of streamed tool calls: it goes by their indices."""
    made = {}
    for delta in deltas:
        if "id" in delta:
            assert delta["index"] not in made
            made[delta["index"]] = {**delta, "function": dict(delta["function"])}
        else:
            made[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
    assert list(made) == list(range(len(made)))
    return [{name: value for name, value in call.items() if name != "index"} for call in made.values()]
