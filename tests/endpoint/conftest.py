"""A real endpoint and a real OpenAI-compatible upstream, both on loopback, litellm between them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import openai
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from deployments.endpoint.app import create_app
from deployments.endpoint.connections import Patience, config_of
from deployments.endpoint.listening import listen, url_of
from deployments.endpoint.parts import Options, Parts, no_conductor
from models.conductor.plan.writers import FixedWriter
from models.fugu.decision import Decision
from models.ledger import registry
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Price, Timeouts, Worker
from models.workers.retry import RetryPolicy

WORDS = ["one ", "two ", "three"]
THOUGHTS = ["let me ", "count"]
BUSY = {"Retry-After": "7"}


@contextmanager
def running(app, patience=Patience(), websockets=False):  # noqa: B008 - a frozen value
    """The app on a free loopback port, served as the endpoint is, in a thread; gives its URL."""
    listening = listen("127.0.0.1", 0)
    config = config_of(app, patience, 3)
    config.ws = "auto" if websockets else config.ws
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield url_of(listening)
    finally:
        server.should_exit = True
        thread.join()


PEOPLE = ("ada", "bob", "cy")
"""Workers that say who they are and what they were asked last. With tools, ada calls one, bob two at once, cy none."""


@pytest.fixture(scope="session")
def serving():
    """`running`, for tests that serve an app of their own."""
    return running


class Upstream:
    """What a model does is its name: `echo`, `stall` (one word, then nothing), `silent`, `mute` (null), `cut`, ...
    `thinker` shows its reasoning before its words, `daze` breaks off after it.

    `failing`: words; whoever is asked last for something that holds one answers 500.
    """

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self.left: Counter[str] = Counter()
        self.arrived = threading.Event()
        self.released = threading.Event()
        self.gone = threading.Event()
        self.scripts: dict[str, str] = {}
        self.failing: set[str] = set()
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    def forget(self) -> None:
        """As before any test."""
        for kept in (self.seen, self.left, self.scripts, self.failing):
            kept.clear()
        for event in (self.arrived, self.released, self.gone):
            event.clear()

    async def chat(self, request: Request):
        body = await request.json()
        self.seen.append(body)
        self.arrived.set()
        model = body["model"]
        if any(word in str(body["messages"][-1]["content"]) for word in self.failing):
            return JSONResponse({"error": {"message": "not now", "type": "x", "code": None}}, 500)
        if model.startswith("e") and model[1:].isdigit():
            status = int(model[1:])
            error = {"message": f"secret of {model}", "type": "x", "code": None}
            return JSONResponse({"error": error}, status, BUSY if status == 429 else None)
        if model == "silent":
            await self._until_gone(request, model)
        if body.get("stream"):
            return StreamingResponse(self._events(request, body), media_type="text/event-stream")
        return JSONResponse(self._body(body, "chat.completion", message=self._message(body), finish_reason="stop"))

    async def _until_gone(self, request: Request, model: str) -> None:
        try:
            while not await request.is_disconnected():
                if self.released.is_set():
                    return
                await asyncio.sleep(0.005)  # a request says when it is asked whether its client is there
        except asyncio.CancelledError:
            self._note(model)  # the server saw it first
            raise
        self._note(model)

    def _note(self, model: str) -> None:
        self.left[model] += 1
        self.gone.set()

    def _message(self, body: dict) -> dict:
        if body["model"] in PEOPLE:
            return self._persons(body["model"], body)
        if body.get("tools"):
            function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"x": 1}'}
            call = {"id": "call_1", "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        thoughts = {"reasoning_content": "".join(THOUGHTS)} if body["model"] == "thinker" else {}
        return {
            "role": "assistant",
            "content": "".join(self._words(body)) if body["model"] != "mute" else None,
            **thoughts,
        }

    def _persons(self, name: str, body: dict) -> dict:
        last = body["messages"][-1]
        wanted = {"ada": 1, "bob": 2, "cy": 0}[name] if body.get("tools") and last["role"] != "tool" else 0
        if not wanted:
            said = f"{name}: {last['content']}"
            as_json = (body.get("response_format") or {}).get("type") == "json_object"
            return {"role": "assistant", "content": json.dumps({"said": said}) if as_json else said}
        # The ids of different workers may well be the same.
        functions = [{"name": "look", "arguments": json.dumps({"by": name, "n": n})} for n in range(wanted)]
        calls = [{"id": f"call_{n}", "type": "function", "function": f} for n, f in enumerate(functions)]
        return {"role": "assistant", "content": None, "tool_calls": calls}

    def _words(self, body: dict) -> list[str]:
        system = body["messages"][0]["content"] if body["messages"][0]["role"] == "system" else ""
        for prompt, reply in self.scripts.items():
            if prompt in system:
                return [reply]
        if body["model"] == "mute":
            return []
        return [f"{len(body['messages'])} messages"] if body["model"] == "count" else WORDS

    def _body(self, body: dict, kind: str, usage: bool = True, **choice) -> dict:
        found = {"id": "up", "object": kind, "created": 1, "model": body["model"]}
        counted = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        return {**found, "choices": [{"index": 0, **choice}], **({"usage": counted} if usage else {})}

    async def _events(self, request: Request, body: dict):
        def event(**choice):
            return f"data: {json.dumps(self._body(body, 'chat.completion.chunk', False, **choice))}\n\n"

        yield event(delta={"role": "assistant", "content": ""}, finish_reason=None)
        message = self._message(body)
        for thought in THOUGHTS if body["model"] in ("thinker", "daze") else ():
            yield event(delta={"reasoning_content": thought}, finish_reason=None)
        if body["model"] == "daze":
            raise ConnectionError("cut on purpose")
        if message.get("tool_calls"):
            calls = [{"index": 0, **call} for call in message["tool_calls"]]
            yield event(delta={"tool_calls": calls}, finish_reason=None)
        else:
            person = body["model"] in PEOPLE
            words = re.findall(r"\S+\s*", message["content"]) if person else self._words(body)
            for number, word in enumerate(words):
                if number == 1 and body["model"] == "stall":
                    await self._until_gone(request, "stall")
                if number == 1 and body["model"] == "cut":
                    raise ConnectionError("cut on purpose")
                yield event(delta={"content": word}, finish_reason=None)
        yield event(delta={}, finish_reason="tool_calls" if message.get("tool_calls") else "stop")
        last = self._body(body, "chat.completion.chunk")
        yield f"data: {json.dumps({**last, 'choices': []})}\n\ndata: [DONE]\n\n"


MODELS = ("echo", "count", "stall", "silent", "mute", "cut", "e400", "e401", "e429", "e500", *PEOPLE, "thinker", "daze")


@pytest.fixture(scope="session")
def _upstream():
    upstream = Upstream()
    with running(upstream.app) as url:
        yield upstream, url


@pytest.fixture
def upstream(_upstream):
    upstream, _ = _upstream
    upstream.forget()
    return upstream


@pytest.fixture
def upstream_url(_upstream) -> str:
    return _upstream[1]


@pytest.fixture
def pool(upstream_url):
    base, timeouts = upstream_url + "/v1", Timeouts(total_s=20)
    price = Price(input_per_million=1.0, output_per_million=2.0)
    remote = [Worker(name=m, model=f"openai/{m}", api_base=base, price=price, timeouts=timeouts) for m in MODELS]
    late = Worker(name="late", model="openai/silent", api_base=base, timeouts=Timeouts(total_s=0.3))
    house = [Worker(name=name, model=f"house/{name}") for name in ("calc", "atlas")]
    recorded = Worker(name="past", model="recorded/past")
    return Pool(name="test", workers=(*remote, late, *house, recorded))


@pytest.fixture
def house(ledger, pool):
    """`serve(...)` -> an endpoint whose champions are ready, with clients. Options are those of `Options`; `plan` is
    the workflow (or the policy) that answers every request to fugu-ultra, `cards` what its conductor is told."""
    from models.house import handler

    handler.register()

    @contextmanager
    def serve(*, fugu=None, trinity=None, routers=None, load=None, plan=None, cards=None, **options):
        for model, target in (("fugu", fugu), ("trinity", trinity or fugu)):
            if target is not None:
                registry.promote(ledger, model, target, "test")
        dispatcher = Dispatcher(ledger, pool, retry=RetryPolicy(tries=1))
        policy = FixedWriter(plan) if isinstance(plan, str) else plan
        conductor = no_conductor if plan is None else lambda: (policy, cards or {})
        parts = Parts(ledger, pool, dispatcher, load or (routers or {}).__getitem__, open_conductor=conductor)
        options = {"heartbeat_s": 5.0, "poll_s": 0.02, "observe": False, **options}
        with running(create_app(parts, Options(**options))) as url:
            base = {"base_url": f"{url}/v1", "api_key": "none", "max_retries": 0, "timeout": 20}
            client, raw = openai.OpenAI(**base), openai.DefaultHttpxClient(base_url=url, timeout=20)
            deadline = time.monotonic() + 20
            while fugu is not None:
                ready = raw.get("/readyz")
                if ready.status_code == 200 and (plan is None or ready.json()["conductor"]):
                    break
                assert time.monotonic() < deadline, ready.text
                time.sleep(0.005)  # the endpoint's readiness can only be asked for
            yield SimpleNamespace(url=url, client=client, raw=raw, base=base, heartbeat_s=options["heartbeat_s"])
            raw.close()
            client.close()

    return serve


@pytest.fixture
def plan(pool):
    """Steps, each (worker, subtask, access) -> the plan as a conductor writes it."""

    def write(*steps):
        ordinals = [pool.names.index(worker) for worker, _, _ in steps]
        lists = {"model_id": ordinals, "subtasks": [s for _, s, _ in steps], "access_list": [a for *_, a in steps]}
        return "\n".join(f"{name} = {json.dumps(value)}" for name, value in lists.items())

    return write


@pytest.fixture
def router(ledger, scripted):
    """Decisions -> what `house` takes to serve a router that takes them, and the router."""

    def make(decisions, roles=True, **meta):
        made = scripted(("echo", "count", "stall", "silent", "cut", "e400", "e429", "calc"), decisions, roles)
        checkpoint = registry.save_checkpoint(ledger, name="x", vector=np.zeros(1, np.float32), meta=meta)
        return {"fugu": {"kind": "router", "checkpoint": checkpoint}, "routers": {checkpoint: made}}, made

    return make


class Scripted:
    """A router whose decisions are written down, one a turn; the last one stays."""

    def __init__(self, workers, decisions, roles=True):
        self.workers, self.roles, self.released, self.decisions = tuple(workers), roles, None, decisions
        self.read: list = []

    async def decide(self, messages, allowed=None):
        name, role = self.decisions[min(len(self.read), len(self.decisions) - 1)]
        if messages[-1]["content"] != "ready":  # the first forward, before anybody asks
            self.read.append((list(messages), allowed))
        name = name if allowed is None or name in allowed else allowed[0]
        index = self.workers.index(name)
        logits = np.where(np.arange(len(self.workers)) == index, 1.0, 0.0).astype(np.float32)
        return Decision(name, index, role, logits, None, 0.5, 0.0)


@pytest.fixture(scope="session")
def scripted():
    return Scripted
