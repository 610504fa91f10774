"""`fugu up`: run a Prefect server, its pools and the endpoint until Ctrl-C; measure and learn first if needed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from deployments import loopback, provision, server
from deployments.doors import allowed
from deployments.estimate import estimate_cost
from deployments.home import Note, has_keys, leave_note, locked, secret, secret_file
from deployments.local.files import check_files
from deployments.local.starting import LOADING_S, log_name, start_models, words_of
from deployments.migrations import upgrade
from deployments.money import agreed_limit
from deployments.places import databases
from deployments.progress import say, watch
from deployments.readiness import not_ready, tried
from deployments.server import Server
from deployments.services import Service, Services
from deployments.tables import aligned
from models.errors import PermanentError
from models.workers.local import find, models_of
from tasks.setup.checkpoint import seat
from tasks.setup.review import review
from tasks.setup.settings import HOUSE, NONE, Settings, load_pool, local_notes, open_ledger

ENDPOINT, BACKBONE = "deployments.endpoint", "deployments.backbone"
FIRST_LIGHT = "first-light/measure-learn-serve"
PREFECT_S, ENDPOINT_S = 180.0, 120.0
"""Seconds until the Prefect server and its pools, and after learning the endpoint, must be ready."""


@dataclass(frozen=True)
class Options:
    """Options of this start; paths, pool and preset come from the settings."""

    once: bool = False
    yes: bool = False
    max_usd: float | None = None
    serve: str | None = None


class Stopped(Exception):
    """Ctrl-C, SIGTERM or SIGHUP was received."""


def bring_up(options: Options, here: Settings, console: Console) -> int:
    """Start all processes, ask one question, run until stopped, then end all processes.

    Returns the exit status: 0 if it was ready, 130 if it was stopped before.
    Raises PermanentError for a taken port, a home in use, a declined cost, a failed process or flow run; and as
    `databases.held` does.
    """
    start = Start(here, console, may_ask=options.yes or not load_pool().is_priced, once=options.once)
    with locked(here.home) as lock, databases.held(here):
        start.check_ports()
        max_usd = _agree(options, here, console)
        start.seat(options.serve)
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


def _agree(options: Options, here: Settings, console: Console) -> float | None:
    """The agreed limit in USD for measuring and learning; `None` if nothing is missing, or there are no questions.

    Raises PermanentError if the cost is declined, and for questions that nothing can be learned from.
    """
    upgrade(here.database)
    if here.questions == NONE:
        return None
    pool, ledger = load_pool(), open_ledger()
    looked = None if here.questions == HOUSE else review(Path(here.questions))
    estimate = estimate_cost(here, pool, ledger)
    ledger.close()
    if estimate.nothing_missing:
        return None
    if looked is not None:
        for line in looked.text(here.questions, estimate.line):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    what = f"learning with preset {here.preset!r}"
    limit = agreed_limit(pool.name, what, estimate.usd, yes=options.yes, max_usd=options.max_usd)
    pool.check_keys()
    return limit


class Start:
    """The steps of one start, each reported with the seconds since the first."""

    def __init__(self, here: Settings, console: Console, *, may_ask: bool = True, once: bool = False) -> None:
        self.here, self.console, self.ready = here, console, False
        self.may_ask, self._once = may_ask, once
        self._began, self._stopped, self._alone = time.monotonic(), False, False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Signal handler. It sets a flag: an exception raised here could be swallowed by the interrupted code."""
        self._stopped = True

    def check(self, services: Services) -> None:
        """Raises Stopped after a signal, ServiceEnded if a process has ended."""
        if self._stopped:
            raise Stopped
        services.check()

    def wait(self, services: Services, seconds: float) -> None:
        """Check, then sleep."""
        self.check(services)
        time.sleep(seconds)

    def check_ports(self) -> None:
        """Check addresses, ports and the files of local models before anything starts.

        Raises PermanentError for a taken port, BadInput for an address that is not loopback in a home without keys, for
        an invalid FUGU_HOSTS or FUGU_ORIGINS, and for a local model without files.
        """
        check_files(load_pool(), self.here.home)
        known = has_keys(self.here.database)
        loopback.address(self.here.host, self.here.port, f"FUGU_HOST={self.here.host}", has_keys=known)
        server.free_port(self.here.host, self.here.port, "--port", has_keys=known)
        allowed(self.here)
        port = server.free_port("127.0.0.1", self.here.prefect_port, "--prefect-port")
        self._prefect = f"http://127.0.0.1:{port}"
        self._server_command = server.command(port)

    def seat(self, wanted: str | None) -> None:
        """Where there are no questions, or a worker is named: let one worker serve what nothing else serves."""
        self._alone = self.here.questions == NONE
        if not self._alone and wanted is None:
            return
        ledger = open_ledger()
        worker = seat(ledger, load_pool(), wanted)
        ledger.close()
        if worker is not None:
            self.say(f"nothing was measured: worker {worker!r} answers (--serve NAME names another one)")

    def run(self, services: Services, max_usd: float | None) -> None:
        """Start everything; measure and learn first unless `max_usd` is `None`."""
        environment = server.environment(self.here, self._prefect)
        services.start("prefect-server", self._server_command, environment)
        if max_usd is not None and self.here.backbone == HOUSE:
            services.start("backbone", [BACKBONE], environment, stays=False)
        start_models(models_of(load_pool()), local_notes(), services, environment)
        announcement = self._start_endpoint(services, environment)
        self._start_pools(services, environment)
        self._wait_for_models(services)
        if self._alone:
            self.say("there are no questions: nothing is measured or learned (--questions FILE names some)")
        elif max_usd is None:
            self.say("nothing is missing: no learning is scheduled")
        else:
            self._learn(services, max_usd)
        endpoint = self._wait_for_endpoint(services, announcement)
        self.say(_who_plans(self.here))
        if self.may_ask:
            self.say(tried(endpoint, secret(self.here.home), strict=self._once))
        else:
            self.say("no test question is asked, because the pool has prices (--yes asks one)")
        if not self._alone and load_pool().is_priced:
            self.say(
                "the nightly refresh spends nothing while its max_usd is 0: its page says what it leaves, and "
                "`fugu measure --max-usd USD` measures that"
            )
        self.ready = True
        leave_note(self.here.home, Note(prefect=self._prefect, endpoint=endpoint))
        self._print_summary(endpoint)

    def say(self, text: str) -> None:
        """Print one line with the elapsed seconds."""
        say(self.console, self._began, text)

    def _start_endpoint(self, services: Services, environment: Mapping[str, str]) -> Path:
        announcement = self.here.home / "endpoint.json"
        announcement.unlink(missing_ok=True)
        where = ["--host", self.here.host, "--port", str(self.here.port), "--announce", str(announcement)]
        services.start("endpoint", [ENDPOINT, *where], environment, grace_s=self.here.drain_s + 1)
        return announcement

    def _start_pools(self, services: Services, environment: Mapping[str, str]) -> None:
        """Wait for the server, apply pools and deployments if they changed, and start a worker for each pool."""
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
            self.say(f"{ended} unfinished flow runs of an earlier start were ended")
        self._until(lambda: prefect.has_pools(provision.POOLS, template), services, "provision", PREFECT_S)
        for pool in provision.POOLS:
            services.start(f"worker-{pool}", provision.worker(pool), environment)
        if provisioning is not None:
            self._until(lambda: provisioning.ended, services, "provision", PREFECT_S)
            record.write_text(wanted)
        self.say("the workers of the pools cpu and gpu are started, the deployments are applied")

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

    def _wait_for_models(self, services: Services) -> None:
        """Wait until the pool's local models are loaded."""
        notes = local_notes()
        for model in models_of(load_pool()):
            self._until(partial(find, notes, model), services, log_name(notes, model), LOADING_S)
            self.say(words_of(model, notes))

    def _wait_for_endpoint(self, services: Services, announcement: Path) -> str:
        self._until(announcement.is_file, services, "endpoint", ENDPOINT_S)
        url = str(json.loads(announcement.read_text())["url"])
        self._until(lambda: not not_ready(url), services, "endpoint", ENDPOINT_S, lambda: not_ready(url))
        self.say(f"the endpoint is ready: {url}/v1")
        return url

    def _until(
        self,
        reached: Callable[[], object],
        services: Services,
        name: str,
        seconds: float,
        why: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait until `reached`. Raises PermanentError, with `why` and the log's name, after `seconds`."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                reason = f" ({found})" if (found := why()) else ""
                raise PermanentError(
                    f"{name} is not ready after {seconds:g} s{reason}: see {services.logs / f'{name}.log'}"
                )
            self.wait(services, 0.1)

    def _print_summary(self, endpoint: str) -> None:
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


def _who_plans(here: Settings) -> str:
    """Who writes the plans of `fugu-ultra`, what that costs, and how to change it."""
    from tasks.setup.conductor import chosen

    ledger = open_ledger()
    try:
        return chosen(here.conductor, ledger, load_pool()).line
    finally:
        ledger.close()
