"""What strangers try to get into: a real Prefect server with a pool's worker, a real endpoint; and a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest

from deployments import provision, server
from deployments.home import Note, leave_note, locked, secret
from deployments.migrations import upgrade
from deployments.services import Services
from models.ledger import registry
from models.ledger.accounts import spend
from tasks.setup.settings import open_ledger, settings

FLOW = """
import os
from pathlib import Path
from prefect import flow

@flow(name="touch")
async def touch(path: str) -> None:
    Path(path).write_text(os.environ.get("STRANGE", "none") + " " + os.getcwd())
"""
DEPLOYMENTS = """
pull: []
deployments: [{name: on-demand, entrypoint: touching:touch, work_pool: {name: cpu}}]
"""


class Blank(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, *words):
        pass


@pytest.fixture(scope="session")
def pages():
    """Ports of two web servers with a page each; the second one's is allowed, by the name `localhost`."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Blank) for _ in range(2)]
    for one in servers:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield [one.server_port for one in servers]
    for one in servers:
        one.shutdown()


def until(reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # other processes are waited for, which can only be asked


@pytest.fixture(scope="session")
def house(tmp_path_factory, pages, prefect_database):
    """What `fugu up` starts, but for what learns: addresses, the secret, and Prefect's API with it."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "touching.py").write_text(FLOW)
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            variables = {
                "FUGU_HOME": str(folder / "home"),
                "FUGU_ORIGINS": f"http://localhost:{pages[1]}",
                "PYTHONPATH": str(folder),
            }
            _use(variables, patch)
            (folder / "home" / "prefect").mkdir(parents=True)
            shutil.copy(prefect_database, folder / "home" / "prefect" / "prefect.db")
            house = _start(folder, stack)
        house.variables = variables
        yield house


def _use(variables, patch):
    for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
        patch.delenv(name)
    for name, value in variables.items():
        patch.setenv(name, value)


def _start(folder, stack):
    place = settings().home
    port = server.free_port("127.0.0.1", 0, "--prefect-port")
    prefect = f"http://127.0.0.1:{port}"
    lock = stack.enter_context(locked(place))
    environment = server.environment(settings(), prefect)
    services = stack.enter_context(Services(place, lock))
    services.start("prefect-server", server.command(port), environment)

    def provide():
        command = ["deployments.provision", str(folder / "prefect.yaml")]
        provisioning = services.start("provision", command, environment, stays=False)
        return lambda: services.check() or provisioning.ended

    provided = provide()
    upgrade(settings().database)
    ledger = open_ledger()
    stack.callback(ledger.close)
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "calc"}, "test")
    told = folder / "endpoint.json"
    command = ["deployments.endpoint", "--port", "0", "--no-observe", "--announce", str(told)]
    services.start("endpoint", command, environment)
    until(provided)
    services.start("worker-cpu", provision.worker("cpu"), environment)
    until(lambda: services.check() or told.is_file())
    endpoint = json.loads(told.read_text())["url"]
    with httpx.Client() as http:
        until(lambda: http.get(f"{endpoint}/readyz").status_code == 200)
    leave_note(place, Note(prefect, endpoint))
    key = server.credentials(secret(place))
    api = stack.enter_context(httpx.Client(base_url=f"{prefect}/api", headers=key, timeout=30))
    deployment = api.get("/deployments/name/touch/on-demand").json()
    return SimpleNamespace(
        folder=folder, place=place, prefect=prefect, endpoint=endpoint, api=api, ledger=ledger, key=key,
        deployment=deployment, secret=secret(place), provide=provide, until=until,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def variables(house, monkeypatch):
    """Those of the house, for the test alone."""
    _use(house.variables, monkeypatch)


@pytest.fixture
def unharmed(house):
    """After the test no flow run is there that was not before it, nobody was asked, and no command has run."""
    harm = house.folder / "harm"

    def state():
        return house.api.post("/flow_runs/count", json={}).json(), spend(house.ledger)["calls"], harm.exists()

    before = state()
    yield harm
    assert state() == before and not harm.exists()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A real Chromium with a profile of its own."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver_program = shutil.which("chromedriver")
    if not (program and driver_program):
        assert not os.environ.get("CI"), "a real browser is part of the proof: install chromium and chromium-driver"
        pytest.skip("no chromium with its chromedriver on this machine")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "window-size=1400,1000"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_program))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()
