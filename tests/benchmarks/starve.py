"""Does one caller starve the others? Small requests and `/livez` while three large requests are under way.

The endpoint is a process of its own, with a router on a backbone of the house's size (its weights are hardly trained,
which costs the same), and a provider on loopback answers. Small requests, one after the other in `CALLERS` threads, and
`/livez`, are measured while all is quiet, then while a request of 30 MB, one of 4,096 messages and one whose
`logit_bias` has 100,000 entries are under way, in rounds: a round ends when all three have been answered. What is
reported is the 99th percentile of the small requests less that of the quiet ones, and that of `/livez`. Printed with
them are how long the endpoint's event loop stood still at most, and the memory of its processes.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from reporting import report

CALLERS, QUIET_S, ROUNDS = 2, 10.0, 3
UPSTREAM_S = 0.01
LIMITS = {"FUGU_MAX_BODY_BYTES": str(40 << 20), "FUGU_MAX_MESSAGES": "4096", "FUGU_MAX_FIELDS": "200000"}


def chat(messages: list[dict[str, str]], **fields: Any) -> bytes:
    return json.dumps({"model": "fugu", "messages": messages, **fields}).encode()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def large() -> dict[str, bytes]:
    words = "On which weekday was that, and how many days are there between them? "
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}: {words}"} for n in range(4095)]
    return {
        "30 MB": chat([user(words * (30_000_000 // len(words)))]),
        "4,096 messages": chat([*turns, user("and now?")]),
        "100,000 fields": chat([user("hello")], logit_bias={str(token): 1 for token in range(100_000)}),
    }


@dataclass
class Watch:
    """Seconds of what is asked again and again, each in a thread of its own, while the watch is on."""

    url: str
    small: list[float] = field(default_factory=list)
    livez: list[float] = field(default_factory=list)

    @contextmanager
    def on(self) -> Any:
        ended = threading.Event()

        def again(seconds: list[float], ask: Callable[[http.client.HTTPConnection], None], pause_s: float) -> None:
            connection = connect(self.url)
            while not ended.wait(pause_s):
                started = time.perf_counter()
                ask(connection)
                seconds.append(time.perf_counter() - started)
            connection.close()

        numbers = iter(range(1 << 30))
        small = lambda to: post(to, chat([user(f"{time.time_ns()} {next(numbers)}: what is that?")]))  # noqa: E731
        jobs = [(self.small, small, 0.03)] * CALLERS + [(self.livez, lambda to: get(to, "/livez"), 0.02)]
        threads = [threading.Thread(target=again, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)


def post(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    _read(connection)


def get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    _read(connection)


def _read(connection: http.client.HTTPConnection) -> None:
    response = connection.getresponse()
    said = response.read()
    assert response.status == 200, (response.status, said[:300])


def one_round(url: str, bodies: dict[str, bytes]) -> dict[str, float]:
    """Send them all at once; the seconds until each was answered."""
    took: dict[str, float] = {}

    def send(name: str) -> None:
        connection, started = connect(url), time.perf_counter()
        post(connection, bodies[name])
        took[name] = time.perf_counter() - started
        connection.close()

    threads = [threading.Thread(target=send, args=(name,)) for name in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == len(bodies), "a large request was not answered"
    return took


def make_home(home: Path, upstream: str) -> None:
    """A ledger whose champions are a router on a backbone of the house's size, and a pool of two workers."""
    from models.fugu.forward.backbone import Backbone
    from models.fugu.forward.layout import layout_for
    from models.fugu.router import Router
    from models.house import backbone as house
    from models.ledger import registry
    from models.ledger.store import Ledger

    workers = [f"{{name: {name}, model: openai/{name}, api_base: {upstream}, price: {{}}}}" for name in ("ant", "bee")]
    (home / "pool.yaml").write_text(f"workers: [{', '.join(workers)}]")
    folder = house.make(home, replace(house.DEFAULT, lines=64))
    backbone = Backbone.load(folder, device="cpu")
    layout = layout_for(backbone.decoder, "late")
    draw = np.random.default_rng(0)
    vector = np.concatenate([0.1 * draw.standard_normal(layout.offsets), draw.standard_normal(2 * backbone.width)])
    router = Router(backbone, vector.astype(np.float32), ("ant", "bee"), roles=False, layout="late")
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    ledger.create_schema()
    meta = router.meta | {"backbone": str(folder.relative_to(home))}
    checkpoint = registry.save_checkpoint(ledger, name="starve", vector=router.vector, meta=meta)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "router", "checkpoint": checkpoint}, "starve")
    ledger.close()


@contextmanager
def endpoint(home: Path) -> Any:
    """Gives its URL and its process, once it is ready."""
    where = {**os.environ, **LIMITS, "FUGU_HOME": str(home), "FUGU_POOL": str(home / "pool.yaml")}
    command = [sys.executable, __file__, "endpoint", str(home / "stood"), "--port", "0", "--no-observe"]
    with (home / "endpoint.log").open("wb") as log:
        process = subprocess.Popen(command, env=where, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        try:
            connection, until = connect(url), time.monotonic() + 120
            while time.monotonic() < until:
                connection.request("GET", "/readyz")
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    break
                time.sleep(0.1)  # another process, which can only be asked
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def serve(stood: Path, arguments: list[str]) -> int:
    """The endpoint, with a probe in its event loop: the longest time that it stood still is kept in a file."""
    from deployments.endpoint import __main__ as main
    from deployments.endpoint.listening import Announcing

    startup = Announcing.startup

    async def probe() -> None:
        stood.write_text("0")
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.005)  # what it is late by is the measurement
            seconds = time.perf_counter() - started - 0.005
            if seconds > 0.01 and seconds > float(stood.read_text()):
                stood.write_text(f"{seconds:.4f}")

    async def probed(self: Announcing, sockets: Any = None) -> None:
        await startup(self, sockets)
        self.probe = asyncio.create_task(probe())  # type: ignore[attr-defined]

    Announcing.startup = probed  # type: ignore[method-assign]
    sys.argv = ["deployments.endpoint", *arguments]
    return main.main()


def megabytes(process: psutil.Process) -> list[int]:
    """What the process and those below it hold."""
    return [each.memory_info().rss >> 20 for each in (process, *process.children(recursive=True))]


def main() -> None:
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, str(here / "upstream.py"), "0", str(UPSTREAM_S)]
        upstream = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert upstream.stdout is not None
        make_home(home, upstream.stdout.readline().strip())
        with endpoint(home) as (url, process):
            bodies, quiet, busy = large(), Watch(url), Watch(url)
            for _ in range(20):
                post(connect(url), chat([user(f"warm {time.time_ns()}")]))
            with quiet.on():
                time.sleep(QUIET_S)  # what an idle endpoint takes is measured
            (home / "stood").write_text("0")
            print(f"quiet: {told(quiet)}; {megabytes(process)} MB")
            with busy.on():
                for number in range(ROUNDS):
                    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in one_round(url, bodies).items())
                    print(f"round {number + 1}: {took}; {megabytes(process)} MB")
            print(f"busy: {told(busy)}; the loop stood still for {(home / 'stood').read_text()} s at most")
            time.sleep(1)  # memory is given back in a while, which has no event
            print(f"afterwards: {megabytes(process)} MB")
        upstream.terminate()
        upstream.wait()
    figures = {"small_p99_s": p99(busy.small) - p99(quiet.small), "livez_p99_s": p99(busy.livez)}
    report("starve", figures, {"small_p99_s": ("<", 1.0), "livez_p99_s": ("<", 0.1)})


def p99(seconds: list[float]) -> float:
    return float(np.quantile(seconds, 0.99))


def told(watch: Watch) -> str:
    each = {"small": watch.small, "livez": watch.livez}
    return ", ".join(
        f"{name} p50 {np.median(s):.3f} p99 {p99(s):.3f} max {max(s):.3f} s (n = {len(s)})" for name, s in each.items()
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["endpoint"]:
        code = serve(Path(sys.argv[2]), sys.argv[3:])
        sys.stdout.flush()
        os._exit(code)
    main()
