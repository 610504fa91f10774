"""Does an answer come whatever two of three workers do? 5,000 requests, 32 in flight, over all three models.

A drawn router over a small backbone decides for `fugu` and, with its roles and up to five turns, for `trinity`. Three
workers of a provider on loopback (`faulty.py`): 30 % of the calls of two of them meet a fault (429 with and
without Retry-After, 500, reset, stall, cut in mid-stream, malformed events, 3 MB of reply, wrong and missing usage).
`answered_share`: of whole requests, and of streamed ones that no fault struck after their first token, those that were
answered, at least 0.999; `wrong_ends`: the other streamed ones that did not end in exactly one error event; `hung`:
requests that took longer than a minute; `ledger_minus_upstream`: tries that the ledger has less those that the provider
counted. Once with breakers and once without; the figures are the worst of the two, `shares` each worker's calls.

LiteLLM's proxy, with its fallbacks set, gets as many requests for two of the workers in the same run (`litellm_…`).

    python tests/benchmarks/faults.py [REQUESTS]
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
from conduct_many import announced, answers, until
from faulty import provider
from litellm_proxy import KEY, litellm_proxy
from reporting import report
from sqlalchemy import func, select

from deployments.migrations import upgrade
from models.fugu.forward.backbone import Backbone
from models.fugu.router import Router
from models.house import backbone as house_backbone
from models.ledger import registry
from models.ledger.store import Ledger
from models.ledger.tables import calls, tries
from models.ledger.tries import EXPIRED, WITHDRAWN
from tasks.setup.settings import open_ledger, settings

REQUESTS, IN_FLIGHT, SHARE, PATIENCE_S = 5000, 32, 0.3, 60.0
WORKERS = ("shaky", "wobbly", "steady")
PLAN = 'model_id = [0, 1]\nsubtasks = ["look", "answer"]\naccess_list = [[], ["all"]]'
READY_S = 120.0
SMALL = house_backbone.Recipe(layers=2, width=64, heads=2, key_value_heads=1, inner=64, vocabulary=512, lines=64)


@dataclass
class Tally:
    """What became of the requests."""

    asked: int = 0
    answered: int = 0
    struck: int = 0
    wrong_ends: int = 0
    hung: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the requests that no fault struck after their first token."""
        return self.answered / max(1, self.asked - self.struck)


async def load(base: str, count: int, models: tuple[str, ...], headers: dict[str, str]) -> Tally:
    """Put the requests to the endpoint, and tell what became of each."""
    tally, gate, draw = Tally(), asyncio.Semaphore(IN_FLIGHT), random.Random(13)
    limits = httpx.Limits(max_connections=IN_FLIGHT)

    async def one(number: int, model: str, stream: bool) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": f"question {number}"}], "stream": stream}
        async with gate:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await (_streamed if stream else _whole)(http, body, headers, tally)
            except TimeoutError:
                tally.hung += 1
            except httpx.HTTPError as error:
                tally.statuses[type(error).__name__] += 1
            tally.asked += 1
            tally.seconds.append(time.perf_counter() - began)

    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_S, limits=limits, trust_env=False) as http:
        await asyncio.gather(*(one(n, draw.choice(models), draw.random() < 0.5) for n in range(count)))
    return tally


async def _whole(http: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str], tally: Tally) -> None:
    response = await http.post("/chat/completions", json=body, headers=headers)
    tally.statuses[f"{body['model']} {response.status_code}"] += 1
    tally.answered += response.status_code == 200


async def _streamed(http: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str], tally: Tally) -> None:
    begun, errors, finished = False, 0, False
    async with http.stream("POST", "/chat/completions", json=body, headers=headers) as response:
        tally.statuses[f"{body['model']} stream {response.status_code}"] += 1
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            errors += "error" in event
            for choice in event.get("choices") or ():
                begun |= bool(choice["delta"].get("content"))
                finished |= choice.get("finish_reason") is not None
    answered = response.status_code == 200 and finished and not errors
    tally.answered += answered
    if begun and not answered:
        tally.struck += 1
        tally.wrong_ends += errors != 1 or finished


@contextmanager
def endpoint(folder: Path, upstream: str, breakers: bool) -> Iterator[str]:
    """The address of an endpoint of these workers."""
    options = {
        "api_base": upstream,
        "price": {"input_per_million": 1.0, "output_per_million": 1.0},
        "limits": {"concurrency": 64, "max_output_tokens": 256},
        "timeouts": {"first_token_s": 2.0, "between_tokens_s": 2.0, "total_s": 4.0},
    }
    workers = [{"name": name, "model": f"openai/{name}", **options} for name in WORKERS]
    (folder / "pool.yaml").write_text(yaml.safe_dump({"workers": workers}))
    (folder / "plan.txt").write_text(PLAN)
    os.environ |= {
        "FUGU_HOME": str(folder / "home"),
        "FUGU_POOL": str(folder / "pool.yaml"),
        "FUGU_CONDUCTOR": f"fixed:{folder / 'plan.txt'}",
        "FUGU_BREAKERS": str(breakers).lower(),
        "OPENAI_API_KEY": "none",
    }
    upgrade(settings().database)
    ledger = open_ledger()
    checkpoint = drawn(ledger)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": checkpoint}, "benchmark")
    ledger.close()
    command = ["-m", "deployments.endpoint", "--port", "0", "--no-observe"]
    with announced(command, dict(os.environ), folder / "endpoint.log") as url:
        until(lambda: answers(f"{url}/readyz") and httpx.get(f"{url}/readyz").json()["conductor"], READY_S)
        yield f"{url}/v1"


def drawn(ledger: Ledger) -> str:
    """The id of a router whose rows are drawn, so that all workers and roles have their turns."""
    backbone = Backbone.load(house_backbone.make(settings().home, SMALL), device="cpu")
    texts = [f"user: question {number}" for number in range(64)]
    states = backbone.features(texts)
    rows = np.random.default_rng(13).normal(size=(len(WORKERS) + 3, backbone.width))
    mean = states.mean(axis=0)
    rows -= np.outer(rows @ mean, mean) / (mean @ mean)  # what all states have in common prefers nobody
    router = Router(backbone, rows.astype(np.float32).ravel(), WORKERS, roles=True, layout="head")
    return registry.save_checkpoint(ledger, name="drawn", vector=router.vector, meta=router.meta)


def counted(folder: Path) -> Counter[str]:
    """Calls that reached the provider, by model."""
    return Counter((folder / "counted").read_text().split())


def sent() -> Counter[str]:
    """Tries that the ledger has, but those that were never sent, by worker."""
    unsent = tries.c.error.like("%is not asked%") | tries.c.error.like("%is being tried again%")
    unsent |= tries.c.error.in_((EXPIRED, WITHDRAWN))
    own = select(calls.c.worker, func.count()).join(tries, tries.c.call_id == calls.c.id)
    ledger = open_ledger()
    with ledger.reading() as connection:
        rows = connection.execute(own.where(tries.c.error.is_(None) | ~unsent).group_by(calls.c.worker)).tuples().all()
    ledger.close()
    return Counter(dict(rows))


def measure(folder: Path, breakers: bool, count: int) -> dict[str, Any]:
    folder.mkdir()
    with provider(folder, SHARE) as upstream:
        with endpoint(folder, upstream, breakers) as base:
            tally = asyncio.run(load(base, count, ("fugu", "trinity", "fugu-ultra"), {}))
        there = counted(folder)
    print(f"breakers {'on' if breakers else 'off'}: {dict(sorted(tally.statuses.items()))}", flush=True)
    difference = _difference(sent(), there)
    if any(difference.values()):
        print(f"ledger less provider: {difference}; {errors()}", flush=True)
    return {
        "answered_share": tally.share,
        "wrong_ends": tally.wrong_ends,
        "hung": tally.hung,
        "ledger_minus_upstream": sum(abs(number) for number in difference.values()),
        "shares": {name: round(there[name] / there.total(), 3) for name in WORKERS},
        "p50_s": round(sorted(tally.seconds)[len(tally.seconds) // 2], 3),
    }


def rival(folder: Path, count: int) -> dict[str, Any]:
    """The same kind of requests to LiteLLM's proxy, which may fall back on the other workers."""
    folder.mkdir()
    with provider(folder, SHARE) as upstream:
        options = {"api_base": upstream, "api_key": "none", "timeout": 4, "stream_timeout": 2}
        models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}"} | options} for name in WORKERS]
        order = {name: [other for other in reversed(WORKERS) if other != name] for name in WORKERS}
        router = {"num_retries": 2, "retry_after": 0, "fallbacks": [{name: others} for name, others in order.items()]}
        with litellm_proxy(folder, models, router) as base:
            tally = asyncio.run(load(base, count, WORKERS[:2], {"Authorization": f"Bearer {KEY}"}))
    print(f"litellm: {dict(sorted(tally.statuses.items()))}", flush=True)
    return {
        "litellm_answered_share": round(tally.share, 4),
        "litellm_hung": tally.hung,
        "litellm_p50_s": round(sorted(tally.seconds)[len(tally.seconds) // 2], 3),
    }


def errors() -> Counter[str]:
    """What the ledger's tries failed with, by worker and text without its digits."""
    ledger = open_ledger()
    with ledger.reading() as connection:
        rows = connection.execute(select(tries.c.status, tries.c.error).where(tries.c.error.is_not(None))).all()
    ledger.close()
    return Counter(f"{status}: {re.sub(r'[0-9.]+', '#', str(error))[:120]}" for status, error in rows)


def _difference(one: Counter[str], other: Counter[str]) -> dict[str, int]:
    return {name: one[name] - other[name] for name in one | other}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: measure(Path(folder) / name, name == "on", count) for name in ("on", "off")}
        other = rival(Path(folder) / "litellm", count)
    worst: dict[str, Any] = {"answered_share": min(run["answered_share"] for run in runs.values())}
    for name in ("wrong_ends", "hung", "ledger_minus_upstream"):
        worst[name] = max(run[name] for run in runs.values())
    figures = worst | other | {f"{what}_{name}": runs[name][what] for name in runs for what in ("shares", "p50_s")}
    bounds = {name: ["==", 0] for name in ("wrong_ends", "hung", "ledger_minus_upstream")}
    report("faults", figures, {"answered_share": [">=", 0.999], **bounds})


if __name__ == "__main__":
    main()
