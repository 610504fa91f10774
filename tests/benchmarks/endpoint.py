"""How much does the endpoint cost a call, beside LiteLLM's proxy, Portkey's gateway, and no gateway at all?

One process each, in the same run, before a provider that takes no time (`swift.py`); whoever asks is a process of its
own, too (`load.py`), and the same for all. Ours has keys, the ledger and the house router on; no question is asked
twice. One and 32 connections, whole and streamed, in rounds that go round all of them; figures are medians of the
rounds. `cpu_ms` is the time that a server's process computes for one whole request at 32 connections: beside other
programs it says more than `rps` does. `memory_growth`: our process's memory after 50,000 requests over that after
5,000, less 1.

    python tests/benchmarks/endpoint.py [--quick] [--ours] [--home FOLDER]

`--quick`: a tenth of everything. `--ours`: no rivals. `--home`: keeps the house backbone from run to run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import yaml
from conduct_many import announced, answers, until
from keyed import with_key
from litellm_proxy import KEY, litellm_proxy
from portkey import headers as portkey_headers
from portkey import portkey_gateway
from reporting import report

from deployments.migrations import upgrade
from models.fugu import vector as vectors
from models.fugu.forward.layout import layout_for
from models.fugu.router import Router
from models.ledger import registry
from tasks.setup.preset import BackbonePlan
from tasks.setup.router import backbone_path, load_backbone
from tasks.setup.settings import load_pool, open_ledger, settings

HERE = Path(__file__).parent
AT_ONCE = (1, 32)
ROUNDS, ALONE, MANY = 3, 500, 5000
EARLY, LATE = 5_000, 50_000
READY_S = 180.0


@dataclass(frozen=True)
class Server:
    """Where requests go. `model`: the name that they ask for."""

    url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def process(self) -> psutil.Process:
        """The process that listens at its port, one of this one's children."""
        port = urlsplit(self.url).port
        for each in psutil.Process().children(recursive=True):
            if any(found.laddr.port == port for found in each.net_connections("tcp") if found.status == "LISTEN"):
                return each
        raise LookupError(f"no process listens at {self.url}")


class Failed(Exception):
    """A server did not answer every request rightly."""


numbers = count()
"""Of the runs: each asks questions of its own."""


def load(server: Server, connections: int, requests: int, stream: bool = False) -> dict[str, Any]:
    """What the load generator saw, and `cpu_ms`, the server's time for each request."""
    job = {"url": f"{server.url}/chat/completions", "model": server.model, "headers": dict(server.headers)}
    job |= {"connections": connections, "requests": requests, "stream": stream, "begin": next(numbers) * 10**6}
    process = server.process
    before = process.cpu_times()
    command = [sys.executable, str(HERE / "load.py"), json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    after = process.cpu_times()
    seconds = after.user + after.system - before.user - before.system
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"]:
        raise Failed(f"{found['failed']} of {requests} requests failed")
    return found | {"cpu_ms": 1e3 * seconds / requests}


def furnish(home: Path, upstream: str) -> None:
    """A home with the house router over six workers of the upstream, each with a price."""
    names = load_pool("house").names
    os.environ |= {"FUGU_HOME": str(home), "FUGU_POOL": str(home / "pool.yaml"), "OPENAI_API_KEY": "none"}
    shape = {"model": "openai/swift", "api_base": upstream, "limits": {"concurrency": 64}}
    price = {"input_per_million": 0.5, "output_per_million": 1.5}
    workers = [{"name": name, **shape, "price": price} for name in names]
    (home / "pool.yaml").write_text(yaml.safe_dump({"name": "swift", "workers": workers}))
    upgrade(settings().database)
    plan = BackbonePlan(lines=4000)
    path = backbone_path("house", plan)
    backbone = load_backbone(path, plan)
    draws = np.random.default_rng(7)
    offsets = 0.05 * draws.standard_normal(layout_for(backbone.decoder, "late").offsets)
    head = draws.standard_normal((len(names), backbone.width))
    router = Router(backbone, vectors.join(offsets, head), names, roles=False, layout="late")
    ledger = open_ledger()
    meta = router.meta | {"backbone": path}
    checkpoint = registry.save_checkpoint(ledger, name="drawn", vector=router.vector, meta=meta)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": checkpoint}, "benchmark")
    ledger.close()


@contextmanager
def ours(home: Path) -> Iterator[Server]:
    keyed = with_key()
    command = ["-m", "deployments.endpoint", "--port", "0", "--no-observe"]
    with announced(command, dict(os.environ), home / "endpoint.log") as url:
        until(lambda: answers(f"{url}/readyz"), READY_S)
        yield Server(f"{url}/v1", "fugu", keyed)


@contextmanager
def rivals(folder: Path, upstream: str) -> Iterator[dict[str, Server]]:
    options = {"model": "openai/swift", "api_base": upstream, "api_key": "none"}
    with (
        litellm_proxy(folder, [{"model_name": "swift", "litellm_params": options}], {}) as litellm,
        portkey_gateway(folder) as portkey,
    ):
        yield {
            "litellm": Server(litellm, "swift", {"authorization": f"Bearer {KEY}"}),
            "portkey": Server(portkey, "swift", portkey_headers(upstream)),
        }


def rounds(servers: Mapping[str, Server], scale: float) -> dict[str, dict[str, float]]:
    """The median figures of each server: what the load generator saw, by way and number of connections."""
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in servers}
    ways = {name: [way for way in (False, True) if _answers(name, server, way)] for name, server in servers.items()}
    for number in range(ROUNDS):
        for name in sorted(servers, reverse=number % 2 == 1):
            for connections in AT_ONCE:
                requests = int((ALONE if connections == 1 else MANY) * scale)
                for stream in ways[name]:
                    seen = load(servers[name], connections, requests // (5 if stream else 1), stream)
                    way = f"{'stream' if stream else 'whole'}_{connections}"
                    for what, value in seen.items():
                        if value is not None:
                            found[name][f"{way}_{what}"].append(value)
    return {name: {what: statistics.median(values) for what, values in each.items()} for name, each in found.items()}


def _answers(name: str, server: Server, stream: bool) -> bool:
    """Warm a server up. A rival that cannot do it in this way has no figures of it."""
    try:
        load(server, 32, 320, stream)
    except Failed as error:
        if name in ("ours", "bare"):
            raise
        print(f"{name}, {'streamed' if stream else 'whole'}: {error}", flush=True)
        return False
    return True


def growth(server: Server, scale: float) -> float:
    """Memory after LATE requests over that after EARLY, less 1."""
    memory = []
    for requests in (EARLY, LATE - EARLY):
        load(server, 32, int(requests * scale))
        memory.append(server.process.memory_info().rss)
    print(f"memory after {EARLY} and {LATE} requests: {[round(each / 2**20) for each in memory]} MB", flush=True)
    return memory[1] / memory[0] - 1


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    scale = 0.1 if arguments.quick else 1.0
    home = arguments.home or folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        swift = stack.enter_context(announced([str(HERE / "swift.py")], dict(os.environ), folder / "swift.log"))
        upstream = f"{swift}/v1"
        furnish(home, upstream)
        servers = {"ours": stack.enter_context(ours(home)), "bare": Server(upstream, "swift")}
        grown = growth(servers["ours"], scale)
        if not arguments.ours:
            servers |= stack.enter_context(rivals(folder, upstream))
        found = rounds(servers, scale)
    for name, each in found.items():
        print(name, {what: round(value, 3) for what, value in sorted(each.items())}, flush=True)
    own, figures = found["ours"], {"memory_growth": grown}
    bounds: dict[str, Any] = {"memory_growth": ["<=", 0.05]}
    figures["first_byte_over_upstream_ms"] = own["stream_1_first_ms"] - found["bare"]["stream_1_first_ms"]
    bounds["first_byte_over_upstream_ms"] = ["<=", 10.0]
    for rival in found.keys() - {"ours", "bare"}:
        for what, way in (("rps", "whole_32_rps"), ("p50", "whole_32_p50_ms"), ("cpu", "whole_32_cpu_ms")):
            figures[f"{what}_over_{rival}"] = own[way] / found[rival][way]
    if "litellm" in found:
        bounds |= {"rps_over_litellm": [">=", 5.0], "p50_over_litellm": ["<=", 0.5]}
    report("endpoint", figures, bounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--home", type=Path)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), parser.parse_args())


if __name__ == "__main__":
    main()
