"""`fugu up`: a Prefect server, its pools, the first learning where it is missing, the endpoint; until Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from rich.console import Console

from deployments import loopback, provision, server
from deployments.doors import allowed
from deployments.estimate import plan
from deployments.home import Note, leave_note, locked, secret, secret_file
from deployments.migrations import upgrade
from deployments.money import agreed_limit
from deployments.progress import say, watch
from deployments.server import Server
from deployments.services import Service, Services
from deployments.tables import aligned
from models.errors import PermanentError
from tasks.setup.settings import HOUSE, Settings, load_pool, open_ledger

ENDPOINT, BACKBONE = "deployments.endpoint", "deployments.backbone"
FIRST_LIGHT = "first-light/local"
QUESTION = "What is 17 * 24 + 5?"
PREFECT_S, ENDPOINT_S = 180.0, 120.0
"""How long the Prefect server with its pools, and after learning the endpoint, may take to get ready."""


@dataclass(frozen=True)
class Options:
    """What this start was asked for; where things are and what is learned come from the settings."""

    once: bool = False
    yes: bool = False
    max_usd: float | None = None


class Stopped(Exception):
    """Ctrl-C, SIGTERM or SIGHUP came."""


def bring_up(options: Options, here: Settings, console: Console) -> int:
    """Start what is not there, ask one question, stay until told to stop; then end all that was started.

    Returns the exit status: 0 once it was ready, 130 where it was stopped before.
    Raises PermanentError for a taken port, a home in use, an unagreed cost, a process or flow run that failed.
    """
    start = Start(here, console, may_ask=options.yes or not load_pool().is_priced)
    with locked(here.home) as lock:
        start.check_ports()
        max_usd = _agree(options, here)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, start.stop)
        with Services(here.home, lock) as services:
            try:
                start.run(services, max_usd)
                while not options.once:
                    start.wait(services, 1.0)
            except Stopped:
                return 0 if start.ready else 130
    return 0


def _agree(options: Options, here: Settings) -> float | None:
    """What may be spent on what is missing; `None` where nothing is."""
    upgrade(here.database)
    pool, ledger = load_pool(), open_ledger()
    lacking = plan(here, pool, ledger)
    ledger.close()
    if lacking.nothing_missing:
        return None
    what = f"learning with preset {here.preset!r}"
    limit = agreed_limit(pool.name, what, lacking.usd, yes=options.yes, max_usd=options.max_usd)
    pool.check_keys()
    return limit


class Start:
    """The steps of one start, each told with the seconds since the first."""

    def __init__(self, here: Settings, console: Console, *, may_ask: bool = True) -> None:
        self.here, self.console, self.ready = here, console, False
        self.may_ask = may_ask
        self._began, self._stopped = time.monotonic(), False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler. An exception from here could be lost in whatever code it happens to meet."""
        self._stopped = True

    def check(self, services: Services) -> None:
        """Raises Stopped after a signal, ServiceEnded where a process is gone."""
        if self._stopped:
            raise Stopped
        services.check()

    def wait(self, services: Services, seconds: float) -> None:
        """Sleep, unless `check` raises."""
        self.check(services)
        time.sleep(seconds)

    def check_ports(self) -> None:
        """Before anything is started. Raises PermanentError for a port that is taken, an address of others, and what is
        no host or no origin.
        """
        loopback.address(self.here.host, self.here.port, f"FUGU_HOST={self.here.host}")
        server.free_port(self.here.host, self.here.port, "--port")
        allowed(self.here)
        port = server.free_port("127.0.0.1", self.here.prefect_port, "--prefect-port")
        self._prefect = f"http://127.0.0.1:{port}"
        self._server_command = server.command(port)

    def run(self, services: Services, max_usd: float | None) -> None:
        """Bring everything up; learn first where `max_usd` says so."""
        environment = server.environment(self.here, self._prefect)
        services.start("prefect-server", self._server_command, environment)
        if max_usd is not None and self.here.backbone == HOUSE:
            services.start("backbone", [BACKBONE], environment, stays=False)
        announcement = self._start_endpoint(services, environment)
        self._start_pools(services, environment)
        if max_usd is None:
            self.say("nothing is missing: nothing is scheduled")
        else:
            self._learn(services, max_usd)
        endpoint = self._wait_for_endpoint(services, announcement)
        if self.may_ask:
            self.say(f"fugu was asked {QUESTION!r} and answered {ask(endpoint, QUESTION)!r}")
        else:
            self.say("the pool has prices, so that no question is asked unbidden (--yes asks one)")
        self.ready = True
        leave_note(self.here.home, Note(prefect=self._prefect, endpoint=endpoint))
        self._tell(endpoint)

    def say(self, text: str) -> None:
        """One line, with the time."""
        say(self.console, self._began, text)

    def _start_endpoint(self, services: Services, environment: Mapping[str, str]) -> Path:
        announcement = self.here.home / "endpoint.json"
        announcement.unlink(missing_ok=True)
        where = ["--host", self.here.host, "--port", str(self.here.port), "--announce", str(announcement)]
        services.start("endpoint", [ENDPOINT, *where], environment)
        return announcement

    def _start_pools(self, services: Services, environment: Mapping[str, str]) -> None:
        """Wait for the server, give it what it is to know, and start a worker for each pool."""
        wanted = provision.digest(environment, provision.PREFECT_FILE)
        record, template = provision.record(self.here.home), provision.job_template(self.here)
        known = record.is_file() and record.read_text() == wanted
        # It imports Prefect and the flows while the server starts, then waits for it.
        provisioning = None if known else self._provision(services, environment)
        prefect = self._server()
        self._until(prefect.healthy, services, "prefect-server", PREFECT_S)
        leave_note(self.here.home, Note(prefect=self._prefect))
        self.say(f"the Prefect server is up: {self._prefect}")
        if known and not self._is_provisioned(prefect, template):
            provisioning = self._provision(services, environment)
        if ended := prefect.end_orphans():
            self.say(f"{ended} flow runs of an earlier start were set to their end")
        self._until(lambda: prefect.has_pools(provision.POOLS, template), services, "provision", PREFECT_S)
        for pool in provision.POOLS:
            services.start(f"worker-{pool}", provision.worker(pool), environment)
        if provisioning is not None:
            self._until(lambda: provisioning.ended, services, "provision", PREFECT_S)
            record.write_text(wanted)
        self.say("the pools cpu and gpu have their workers, the deployments are applied")

    def _server(self) -> Server:
        return Server(self._prefect, secret(self.here.home))

    def _is_provisioned(self, prefect: Server, template: Mapping[str, Any]) -> bool:
        applied = provision.names(provision.PREFECT_FILE) <= prefect.deployments()
        return applied and prefect.has_pools(provision.POOLS, template)

    def _provision(self, services: Services, environment: Mapping[str, str]) -> Service:
        return services.start(
            "provision", ["deployments.provision", str(provision.PREFECT_FILE)], environment, stays=False
        )

    def _learn(self, services: Services, max_usd: float) -> None:
        prefect = self._server()
        parameters = {
            "pool": self.here.pool,
            "questions": self.here.questions,
            "preset": self.here.preset,
            "backbone": self.here.backbone,
            "max_usd": max_usd,
        }
        run = prefect.start_run(FIRST_LIGHT, parameters)
        self.say(f"{FIRST_LIGHT} is scheduled: {self._prefect}/runs/flow-run/{run.id}")
        watch(prefect, run, self.console, self._began, lambda: self.check(services))
        self.say(f"{FIRST_LIGHT} is done")

    def _wait_for_endpoint(self, services: Services, announcement: Path) -> str:
        self._until(announcement.is_file, services, "endpoint", ENDPOINT_S)
        url = str(json.loads(announcement.read_text())["url"])
        self._until(lambda: not _lacking(url), services, "endpoint", ENDPOINT_S, lambda: _lacking(url))
        self.say(f"the endpoint is ready: {url}/v1")
        return url

    def _until(
        self,
        reached: Callable[[], bool],
        services: Services,
        name: str,
        seconds: float,
        why: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait. Raises PermanentError, saying why and naming the log, where it takes longer."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                reason = f" ({found})" if (found := why()) else ""
                raise PermanentError(
                    f"{name} is not ready after {seconds:g} s{reason}: see {services.logs / f'{name}.log'}"
                )
            self.wait(services, 0.1)

    def _tell(self, endpoint: str) -> None:
        comparison = self.here.home / "reports" / "comparison.md"
        if comparison.is_file():
            text = aligned(comparison.read_text(encoding="utf-8"))
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.console.print(
            f"endpoint  {endpoint}/v1  (models fugu, trinity and fugu-ultra)\n"
            f"Prefect   {self._prefect}  (log in with the line in {secret_file(self.here.home)})\n"
            f"reports   {self.here.home / 'reports'}\nlogs      {self.here.home / 'logs'}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def ask(endpoint: str, question: str) -> str:
    """What `fugu` answers, through the official client. Raises PermanentError with the endpoint's own words."""
    import openai

    client = openai.OpenAI(base_url=f"{endpoint}/v1", api_key="local", max_retries=0, timeout=120)
    try:
        reply = client.chat.completions.create(model="fugu", messages=[{"role": "user", "content": question}])
    except openai.OpenAIError as error:
        raise PermanentError(f"the endpoint at {endpoint} did not answer: {error}") from None
    return (reply.choices[0].message.content or "").strip()


def _lacking(endpoint: str) -> str:
    """What `/readyz` says while the endpoint is not ready; empty once it is."""
    try:
        reply = httpx.get(f"{endpoint}/readyz", timeout=5, trust_env=False)
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return "" if reply.status_code == 200 else f"{reply.status_code} {reply.text.strip()}"
