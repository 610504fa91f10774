"""What compose.yaml starts, started without containers: its commands, its variables, its health checks, on loopback,
with a real PostgreSQL and a real Redis. Run it with -m programs, where those and the extra `redis` are installed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from clusters import PROGRAMS, cluster

from deployments import server
from tasks.setup.settings import PROJECT

pytestmark = pytest.mark.programs

SERVICES: dict[str, Any] = yaml.safe_load((PROJECT / "deployments" / "containers" / "compose.yaml").read_text())[
    "services"
]
GIVEN = {"POSTGRES_PASSWORD": "postgres1", "REDIS_PASSWORD": "redis1", "PREFECT_AUTH": "prefect1"}
PORTS = {"postgres": 5432, "redis": 6379, "prefect": 4200, "endpoint": 8000, "worker": 8080}
PYTHON = {
    "python": [sys.executable],
    "prefect": [sys.executable, "-m", "prefect"],
    "fugu": [sys.executable, "-c", "from deployments.cli import main; main()"],
}


class Machine:
    """The services as processes. Addresses of containers become ports of this machine, their paths folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, dict[str, subprocess.Popen[bytes]]()
        self.ports = {name: server.free_port("127.0.0.1", 0, "") for name in PORTS}

    def put(self, text: str) -> str:
        """A text of the file, as compose and a container would read it."""
        text = re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: GIVEN.get(found[1], found[2] or ""), text)
        text = text.replace("$$", "$").replace("0.0.0.0", "127.0.0.1").replace("/var/lib/fugu", f"{self.folder}/home")
        for name, port in PORTS.items():
            text = re.sub(rf"(?:{name}|127\.0\.0\.1):{port}\b", f"127.0.0.1:{self.ports[name]}", text)
            text = str(self.ports[name]) if text == str(port) else text
        return text

    def environment(self, name: str) -> dict[str, str]:
        own = {key: self.put(str(value)) for key, value in SERVICES[name].get("environment", {}).items()}
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LANG", "SSL_CERT_FILE") if key in os.environ}
        places = {"HOME": str(self.folder), "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1"}
        return {**kept, **places, "PREFECT_WORKER_WEBSERVER_PORT": str(self.ports["worker"]), **own}

    def words(self, command: Sequence[str]) -> list[str]:
        first, *rest = (self.put(str(word)) for word in command)
        return [*PYTHON.get(first, [first]), *rest]

    def start(self, name: str, extra: str = "") -> None:
        words = self.words(SERVICES[name]["command"])
        words[-1] += extra
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                words, env=self.environment(name), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def ask(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in a service's environment; its own one if none is given."""
        command = self.words(words or SERVICES[name]["command"])
        return subprocess.run(
            command,
            env=self.environment(name),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def is_well(self, name: str) -> bool:
        """Whether its health check passes."""
        kind, *words = SERVICES[name]["healthcheck"]["test"]
        words = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        own = {**self.environment(name), "PGHOST": "127.0.0.1", "PGPORT": str(self.ports["postgres"])}
        words = [word.replace("redis-cli", f"redis-cli -p {self.ports['redis']}") for word in self.words(words)]
        process = self.running.get(name)
        assert process is None or process.poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
        return subprocess.run(words, env=own, capture_output=True, timeout=30).returncode == 0

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    pytest.importorskip("prefect_redis")
    if not all(map(shutil.which, (*PROGRAMS, "redis-server"))):
        pytest.skip("PostgreSQL and Redis are not installed")
    machine = Machine(tmp_path)
    (tmp_path / "home").mkdir(mode=0o700)
    with cluster(machine.ports["postgres"], "fugu", GIVEN["POSTGRES_PASSWORD"], ("fugu", "prefect")):
        try:
            yield machine
        finally:
            machine.stop()


def test_what_compose_starts_works_together(machine: Machine, until: Callable[..., None]) -> None:
    until(lambda: machine.is_well("postgres"))
    machine.start("redis", f" --port {machine.ports['redis']} --bind 127.0.0.1 --dir {machine.folder}")
    until(lambda: machine.is_well("redis"))
    machine.start("prefect")
    until(lambda: machine.is_well("prefect"), 120)
    machine.start("prefect-services")
    done = machine.ask("provision")
    assert done.returncode == 0 and "work pool cpu created" in done.stdout, done.stderr
    assert machine.ask("provision").stdout == "nothing to change\n"
    key = machine.ask("provision", "fugu", "keys", "create", "me").stdout.strip()
    machine.start("worker-cpu")
    machine.start("endpoint")
    until(lambda: machine.is_well("endpoint"), 120)
    until(lambda: machine.is_well("worker-cpu"), 60)
    at = f"http://127.0.0.1:{machine.ports['endpoint']}"
    with httpx.Client(timeout=60) as http:
        until(lambda: http.get(f"{at}/readyz").status_code == 200, 120)
        body = {"model": "fugu", "messages": [{"role": "user", "content": "What is 17 + 25?"}]}
        assert http.post(f"{at}/v1/chat/completions", json=body).status_code == 401
        answered = http.post(f"{at}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
        assert answered.status_code == 200, answered.text
    auth = server.credentials(GIVEN["PREFECT_AUTH"])
    with httpx.Client(base_url=f"http://127.0.0.1:{machine.ports['prefect']}/api", timeout=30) as http:
        assert http.get("/work_pools/cpu").status_code == 401
        http.headers.update(auth)
        id = http.get("/deployments/name/prune/drop-old-texts").json()["id"]
        run = http.post(f"/deployments/{id}/create_flow_run", json={}).json()["id"]
        ended = lambda: http.get(f"/flow_runs/{run}").json()["state_type"]  # noqa: E731
        until(lambda: ended() in ("COMPLETED", "FAILED", "CRASHED"), 120)
        assert ended() == "COMPLETED"
