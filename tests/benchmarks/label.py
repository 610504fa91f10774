"""How near does labelling come to what its calls take? 2,000 attempts, 64 at once, on a worker that takes 200 ms.

The flow `refresh-labels` in a process of its own, with its tasks, their kept results and a real Prefect server; the
worker is an HTTP upstream in another process, on loopback, asked by the direct client. `over_ideal`: from the first
claim to the last graded row, as the ledger has their times, over 2,000 / 64 × 200 ms, the worst of all runs; at most
1.25. Ledger and Prefect's database are SQLite's, then PostgreSQL's, three runs each.

`repaid`: then the flow's process is killed by SIGKILL at seeded moments, and started again until it ends: the calls
that were settled at a kill and that the upstream had again after it, that were settled twice, or that the upstream and
the ledger do not have in common; 0.

    python tests/benchmarks/label.py [sqlite|postgres ...]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from conduct_many import Place, prefect, until
from reporting import report
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from deployments.migrations import upgrade
from deployments.server import free_port
from models.ledger.store import Ledger
from models.ledger.tables import attempts, calls, tries

ATTEMPTS, IN_FLIGHT, CALL_S = 2000, 64, 0.2
IDEAL_S = ATTEMPTS / IN_FLIGHT * CALL_S
RUNS, KILLS, PATIENCE_S = 3, 5, 300.0
FLOW = """
import asyncio, sys
from flows.refresh_labels import refresh_labels
asyncio.run(refresh_labels(pool=sys.argv[1], questions=sys.argv[2]))
"""


@contextmanager
def provider(home: Path, counter: Path | None) -> Iterator[None]:
    """The worker, which counts each call in the file before it answers; the home's pool leads to it."""
    port = free_port("127.0.0.1", 0, "port")
    counted = [] if counter is None else [str(counter)]
    command = [sys.executable, str(Path(__file__).with_name("upstream.py")), str(port), str(CALL_S), *counted]
    worker = {"name": "w", "model": "openai/w", "api_base": f"http://127.0.0.1:{port}/v1", "price": {}}
    (home / "pool.yaml").write_text(yaml.safe_dump({"workers": [worker | {"limits": {"concurrency": IN_FLIGHT}}]}))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline()
        try:
            yield
        finally:
            running.terminate()


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server that ends with this: the machine's own, since Prefect wants the extension `pg_trgm`."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise SystemExit("Debian's package postgresql is needed, with pg_trgm")
    owner = "postgres" if os.getuid() == 0 else None  # it does not run as root
    folder = tempfile.mkdtemp(prefix="label-")
    if owner:
        shutil.chown(folder, owner, owner)
    make = [str(programs[-1] / "initdb"), "-D", folder, "-U", "postgres", "-A", "trust"]
    subprocess.run(make, user=owner, cwd="/", stdout=subprocess.DEVNULL, check=True)
    command = [str(programs[-1] / "postgres"), "-D", folder, "-k", folder, "-c", "listen_addresses="]
    running = subprocess.Popen(command, user=owner, cwd="/", stderr=subprocess.DEVNULL)
    url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
    try:
        until(lambda: connects(url), 60)
        yield url
    finally:
        running.send_signal(signal.SIGINT)  # with whoever is connected
        running.wait(30)
        shutil.rmtree(folder)


def connects(url: str) -> bool:
    engine = create_engine(url)
    try:
        engine.connect().close()
        return True
    except OperationalError:
        return False
    finally:
        engine.dispose()


@dataclass
class House:
    """A home whose flow is run on one ledger after another. `databases`: a PostgreSQL server's URL; empty: SQLite."""

    home: Path
    databases: str
    environment: dict[str, str] = field(default_factory=dict)
    ledger: str = ""

    def on_new_ledger(self, name: str) -> None:
        """From now on the flow has an empty ledger, and its tasks no kept results."""
        if self.databases:
            engine = create_engine(self.databases, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            engine.dispose()
            self.ledger = make_url(self.databases).set(database=name).render_as_string(hide_password=False)
        else:
            self.ledger = f"sqlite:///{self.home / name}.db"
        upgrade(self.ledger)
        results = str(self.home / "results" / name)
        self.environment |= {"FUGU_LEDGER_URL": self.ledger, "PREFECT_LOCAL_STORAGE_PATH": results}

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", FLOW, str(self.home / "pool.yaml"), str(self.home / "questions.jsonl")]
        with (self.home / "flow.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.home)

    def run(self) -> None:
        status = self.start().wait(PATIENCE_S)
        if status:
            raise SystemExit((self.home / "flow.log").read_text()[-3000:])

    def seconds(self) -> float:
        """From the first claim to the last graded row."""
        with opened(self.ledger) as ledger, ledger.reading() as connection:
            first = connection.execute(select(func.min(tries.c.started_at))).scalar_one()
            last, count = connection.execute(select(func.max(attempts.c.created_at), func.count())).one()
        assert count == ATTEMPTS, f"{count} attempts"
        found: float = (last - first).total_seconds()
        return found

    def tried(self, *statuses: str) -> Counter[str]:
        """How often each question was tried, of the tries in these states."""
        with opened(self.ledger) as ledger, ledger.reading() as connection:
            chosen = select(calls.c.payload).join(tries, tries.c.call_id == calls.c.id)
            rows = connection.execute(chosen.where(tries.c.status.in_(statuses))).scalars().all()
        return Counter(str(row["messages"][-1]["content"]) for row in rows)


@contextmanager
def opened(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    try:
        yield ledger
    finally:
        ledger.close()


def killed(house: House, draw: random.Random) -> int:
    """What was paid again, or is not accounted for, when the flow was killed so many times and went on."""
    counter, again = house.home / "counted", 0
    counter.write_text("")

    def counted() -> list[str]:
        return counter.read_text().splitlines()

    settled: list[tuple[int, Counter[str]]] = []
    with provider(house.home, counter):
        for after in sorted(draw.sample(range(1, ATTEMPTS - IN_FLIGHT), KILLS)):
            flow, deadline = house.start(), time.monotonic() + PATIENCE_S
            while len(counted()) < after:
                assert time.monotonic() < deadline and flow.poll() is None, f"it ended before {after} calls"
                time.sleep(0.01)  # other processes, which say by the file how far they are
            flow.kill()
            flow.wait()
            time.sleep(2 * CALL_S)  # what was sent has arrived by then
            settled.append((len(counted()), house.tried("settled")))
            print(f"  killed after {after} calls: {settled[-1][1].total()} are settled", flush=True)
        house.run()
    found = counted()
    for before, known in settled:
        again += sum(call in known for call in found[before:])
    all_settled, accounted = house.tried("settled"), house.tried("settled", "maybe_paid", "sent")
    twice = all_settled.total() - len(all_settled)
    unknown, unasked = Counter(found) - accounted, set(all_settled) - set(found)
    assert len(all_settled) == ATTEMPTS
    if problem := again + twice + unknown.total() + len(unasked):
        print(f"  {again} again, {twice} settled twice, not in the ledger {dict(unknown)}, not asked {unasked}")
    return problem


def measure(kind: str, folder: Path) -> tuple[list[float], int]:
    """Seconds of the runs, and what was paid again, with ledger and Prefect on a database of this kind."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    lines = [{"id": f"q{n}", "question": f"What is {n}?"} for n in range(ATTEMPTS)]
    grading = {"task": "words", "grader": "exact", "reference": "seven"}
    (home / "questions.jsonl").write_text("\n".join(json.dumps(line | grading) for line in lines))
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        del os.environ[name]
    os.environ |= {"FUGU_HOME": str(home), "OPENAI_API_KEY": "none"}
    with ExitStack() as stack:
        databases = stack.enter_context(postgres()) if kind == "postgres" else ""
        house = House(home, databases)
        of_prefect = databases.replace("+psycopg", "+asyncpg")
        house.environment = stack.enter_context(prefect(Place(home, ""), of_prefect))
        seconds = []
        for number in range(RUNS):
            house.on_new_ledger(f"run_{number}")
            with provider(home, None):
                house.run()
            seconds.append(house.seconds())
            print(f"{kind}: {seconds[-1]:.2f} s for {IDEAL_S:.2f} s", flush=True)
        house.on_new_ledger("killed")
        house.environment["FUGU_LEASE_S"] = "1"  # what a killed process had in flight is free soon
        return seconds, killed(house, random.Random(13))


def main() -> None:
    figures: dict[str, float] = {}
    worst, repaid = 0.0, 0
    for kind in sys.argv[1:] or ("sqlite", "postgres"):
        with tempfile.TemporaryDirectory() as folder:
            seconds, again = measure(kind, Path(folder))
        worst, repaid = max(worst, *seconds), repaid + again
        figures |= {f"{kind}_s": round(max(seconds), 2), f"{kind}_best_s": round(min(seconds), 2)}
    found = {"over_ideal": round(worst / IDEAL_S, 3), "repaid": repaid}
    report("label", found | figures, {"over_ideal": ["<=", 1.25], "repaid": ["<=", 0]})


if __name__ == "__main__":
    main()
