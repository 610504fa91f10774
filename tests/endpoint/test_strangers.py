"""Nobody gets in: a real Prefect server with a pool's worker, a real endpoint, and web pages in a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from deployments import provision, server
from deployments.home import Note, leave_note, locked, secret, secret_file
from deployments.migrations import upgrade
from deployments.services import Services
from models.ledger import registry
from models.ledger.accounts import spend
from tasks.settings import open_ledger, settings

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


@pytest.fixture(scope="module")
def pages():
    """Ports of two web servers with a page each; the second one's is allowed, by the name `localhost`."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Blank) for _ in range(2)]
    for one in servers:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield [one.server_port for one in servers]
    for one in servers:
        one.shutdown()


def wait(reached, seconds=60):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory, pages):
    """What `fugu up` starts, but for what learns: addresses, the secret, and Prefect's API with it."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "touching.py").write_text(FLOW)
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("FUGU_", "PREFECT_"))]:
            patch.delenv(name)
        patch.setenv("FUGU_HOME", str(folder / "home"))
        patch.setenv("FUGU_ORIGINS", f"http://localhost:{pages[1]}")
        patch.setenv("PYTHONPATH", str(folder))
        port = server.free_port("127.0.0.1", 0, "--prefect-port")
        lock = stack.enter_context(locked(settings().home))
        environment = server.environment(settings(), f"http://127.0.0.1:{port}")
        services = stack.enter_context(Services(settings().home, lock))
        services.start("prefect-server", server.command(port), environment)
        provisioning = services.start(
            "provision", ["deployments.provision", str(folder / "prefect.yaml")], environment, stays=False
        )
        upgrade(settings().database)
        ledger = open_ledger()
        for model in ("fugu", "trinity"):
            registry.promote(ledger, model, {"kind": "worker", "worker": "calc"}, "test")
        told = folder / "endpoint.json"
        endpoint = ["deployments.endpoint", "--port", "0", "--no-observe", "--announce", str(told)]
        services.start("endpoint", endpoint, environment)
        wait(lambda: services.check() or provisioning.ended)
        services.start("worker-cpu", provision.worker("cpu"), environment)
        wait(lambda: services.check() or told.is_file())
        url = json.loads(told.read_text())["url"]
        wait(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        leave_note(settings().home, Note(f"http://127.0.0.1:{port}", url))
        key = server.credentials(secret(settings().home))
        api = httpx.Client(base_url=f"http://127.0.0.1:{port}/api", headers=key, timeout=30)
        deployment = api.get("/deployments/name/touch/on-demand").json()
        yield SimpleNamespace(
            folder=folder, prefect=f"http://127.0.0.1:{port}", endpoint=url, api=api, ledger=ledger,
            deployment=deployment, secret=secret(settings().home), environment=environment, key=key,
            services=services,
        )  # fmt: skip
        api.close()
        ledger.close()


@pytest.fixture
def unharmed(home):
    """After the test no flow run is there that was not before it, nobody was asked, and no command has run."""
    harm = home.folder / "harm"

    def state():
        return home.api.post("/flow_runs/count", json={}).json(), spend(home.ledger)["calls"], harm.exists()

    before = state()
    yield harm
    assert state() == before and not harm.exists()


def test_the_secret_is_the_owners_alone_and_stands_in_no_log_no_database_and_no_command_line(home):
    assert secret_file(settings().home).stat().st_mode & 0o777 == 0o600
    spellings = [home.secret.encode(), home.key["Authorization"].split()[1].encode()]
    for path in settings().home.rglob("*"):
        if path.is_file() and path != secret_file(settings().home):
            assert not any(spelling in path.read_bytes() for spelling in spellings), path
    mine = psutil.Process().children(recursive=True)
    assert len(mine) >= 6 and not any(home.secret in word for process in mine for word in process.cmdline())


def test_without_the_secret_prefect_tells_and_does_nothing(home, unharmed):
    create = f"/deployments/{home.deployment['id']}/create_flow_run"
    for key in ({}, server.credentials("wrong"), {"Authorization": f"Bearer {home.secret}"}):
        with httpx.Client(base_url=f"{home.prefect}/api", headers=key) as stranger:
            for path in ("/deployments/filter", "/flow_runs/filter", "/flow_runs/", create, "/events/filter"):
                assert stranger.post(path, json={}).status_code == 401
                assert stranger.post(path, content=b"{}").status_code == 401
            for path in ("/admin/settings", "/openapi.json", "/docs"):
                assert stranger.get(path).status_code == 401
            assert stranger.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["events/out", "events/in", "logs/out", "work_pools/cpu/workers/connect"])
def test_without_the_secret_no_websocket_says_anything(home, path):
    url = f"{home.prefect.replace('http', 'ws')}/api/{path}"
    for auth in (None, {"type": "auth", "token": None}, {"type": "auth", "token": "wrong"}):
        with connect(url, subprotocols=["prefect"]) as socket:
            socket.send(json.dumps(auth or {"type": "filter", "filter": {}}))
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=10)
    with pytest.raises(InvalidStatus, match="403"), connect(url):
        pass


def test_the_secret_does_not_help_a_foreign_page_or_name(home, unharmed):
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert home.api.post("/deployments/filter", json={}, headers=headers).status_code == 403
        assert home.api.get("/health", headers=headers).status_code == 403
        asked = httpx.get(home.prefect, headers=headers)
        assert asked.status_code == 403 and "access-control-allow-origin" not in asked.headers
        assert httpx.post(f"{home.endpoint}/v1/chat/completions", json={}, headers=headers).status_code == 403
    assert home.api.post("/deployments/filter", json={}, headers={"Origin": home.prefect}).status_code == 200


def test_no_way_into_prefect_takes_a_command_or_leaves_parameters_unchecked(home, unharmed):
    own, named = home.deployment, {"flow_id": home.deployment["flow_id"], "name": "made"}
    run = f"/deployments/{own['id']}/create_flow_run"
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2999-01-01T00:00:00Z"}}
    made = home.api.post(run, json={"state": later, "parameters": {"path": str(unharmed)}}).json()["id"]
    action = {"type": "run-deployment", "source": "selected", "deployment_id": own["id"]}
    automation = {"name": "a", "trigger": {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0}}

    def refused(method, path, body):
        assert home.api.request(method, path, json=body).status_code == 422, (path, body)

    for variables in ({"command": f"touch {unharmed}"}, {"env": {"STRANGE": "1"}}, {"env.STRANGE": "1"}, {"x": 1}):
        wanted = {"job_variables": variables}
        refused("POST", run, wanted)
        refused("POST", f"{run}/bulk", [{}, wanted])
        refused("POST", "/flow_runs/", {**wanted, **named, "work_pool_name": "cpu", "state": {"type": "SCHEDULED"}})
        refused("PATCH", f"/flow_runs/{made}", wanted)
        refused("POST", "/deployments/", {**wanted, **named, "work_pool_name": "cpu"})
        refused("POST", "/deployments/", {**wanted, **named})
        refused("PATCH", f"/deployments/{own['id']}", wanted)
        for place in ("actions", "actions_on_trigger", "actions_on_resolve"):
            refused("POST", "/automations/", {"actions": [], **automation, place: [{**action, **wanted}]})
    for value in (False, 0, "false", "off", "no", "f"):
        wanted = {"enforce_parameter_schema": value, "parameters": {"path": {"not": "text"}}}
        refused("POST", run, wanted)
        refused("POST", f"{run}/bulk", [wanted])
        refused("POST", "/deployments/", {**wanted, **named})
        refused("PATCH", f"/deployments/{own['id']}", wanted)
    assert home.api.post(run, json={"parameters": {"path": {"not": "text"}}}).status_code == 409
    assert (
        home.api.post(run, content=b'{"job_variables": {"a": 1}, "job_v\\u0061riables": {"a": 1}}').status_code == 422
    )
    assert home.api.delete(f"/flow_runs/{made}").status_code == 204


def test_a_run_has_what_its_pool_says_even_where_an_older_home_left_other_words(home):
    """As Prefect kept them before: a template with a place for everything, and a command in deployment and run."""
    from prefect.workers.process import ProcessWorker

    ran, harm = home.folder / "ran", home.folder / "harm"
    strange = json.dumps({"command": f"touch {harm}", "env": {"STRANGE": "1"}, "working_dir": str(home.folder)})
    path = f"/deployments/{home.deployment['id']}"
    made = home.api.post(
        f"{path}/create_flow_run", json={"parameters": {"path": str(ran)}, "state": {"type": "PAUSED"}}
    )
    template = {"base_job_template": ProcessWorker.get_default_base_job_template()}
    assert home.api.patch("/work_pools/gpu", json=template).status_code == 204
    with sqlite3.connect(settings().home / "prefect" / "prefect.db", timeout=10) as database:
        database.execute("UPDATE deployment SET infra_overrides = ?", [strange])
        database.execute("UPDATE flow_run SET job_variables = ? WHERE name = ?", [strange, made.json()["name"]])
    again = {"state": {"type": "SCHEDULED"}, "force": True}
    assert home.api.post(f"/flow_runs/{made.json()['id']}/set_state", json=again).status_code == 201
    wait(ran.exists)
    wait(lambda: home.api.get(f"/flow_runs/{made.json()['id']}").json()["state"]["type"] == "COMPLETED")
    environment, folder = ran.read_text().split()
    assert environment == "none" and folder != str(home.folder) and not harm.exists()
    told = server.Server(home.prefect, home.secret)
    assert not told.has_pools(provision.POOLS, provision.job_template(settings()))
    again = home.services.start(
        "provision", ["deployments.provision", str(home.folder / "prefect.yaml")], home.environment, stays=False
    )
    wait(lambda: home.services.check() or again.ended)
    assert told.has_pools(provision.POOLS, provision.job_template(settings()))
    assert home.api.get(path).json()["job_variables"] == {}


def test_prefects_own_command_line_works_on_the_running_home_alone(home, tmp_path):
    def fugu(*words):
        command = [sys.executable, "-c", "from deployments.cli import main; main()", "prefect", *words]
        bare = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return subprocess.run(command, env=bare, capture_output=True, text=True)

    listed = fugu("--", "deployment", "ls")
    assert listed.returncode == 0 and "touch/on-demand" in listed.stdout
    unknown = fugu("deployment", "run", "no/where", "--param", "a=1")
    assert unknown.returncode == 1 and "no/where" in unknown.stdout + unknown.stderr
    idle = fugu("--home", str(tmp_path), "--", "deployment", "ls")
    assert idle.returncode == 2 and idle.stderr.startswith("fugu: nothing runs on") and idle.stderr.count("\n") == 1


@pytest.fixture(scope="module")
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


TRIES = """
const [prefect, endpoint, key, id, body, done] = arguments;
const run = `${prefect}/api/deployments/${id}/create_flow_run`, chat = `${endpoint}/v1/chat/completions`;
const asked = JSON.stringify({model: "fugu", messages: [{role: "user", content: "What is 17 * 24 + 5?"}]});
const json = {"Content-Type": "application/json"};
const bare = text => new Blob([text]);
const answer = promise => promise.then(async r => `${r.type} ${r.status} ${await r.text()}`, () => "refused");
const fetched = (url, options) => answer(fetch(url, options));
const loaded = (thing, good, bad) => new Promise(resolve => {
    thing.addEventListener(good, () => { resolve("opened"); thing.close?.(); });
    thing.addEventListener(bad, () => { resolve("refused"); thing.close?.(); });
});
const added = (tag, attributes) => {
    const element = Object.assign(document.createElement(tag), attributes);
    document.body.append(element);
    return element;
};
const sent = (action, text) => {
    const frame = added("iframe", {name: `f${Math.random()}`});
    const form = added("form", {action, method: "POST", enctype: "text/plain", target: frame.name});
    const field = document.createElement("input");
    // name=value, which makes JSON of a text/plain form
    [field.name, field.value] = [text.slice(0, -1) + ', "x": "', '"}'];
    form.append(field);
    form.submit();
    return new Promise(resolve => { frame.onload = () => resolve("opened"); });
};
const tries = {
    blob: fetched(run, {method: "POST", body: bare(body)}),
    unread: fetched(run, {method: "POST", body: bare(body), mode: "no-cors"}),
    typed: fetched(run, {method: "POST", body, headers: json}),
    keyed: fetched(run, {method: "POST", body, headers: {...json, ...key}}),
    keyedRead: fetched(`${prefect}/api/flow_runs/filter`, {method: "POST", body: "{}", headers: {...json, ...key}}),
    plainRead: fetched(`${prefect}/api/deployments/filter`, {method: "POST", body: bare("{}")}),
    health: fetched(`${prefect}/api/health`),
    ui: fetched(prefect),
    cookies: fetched(`${prefect}/ui-settings`, {credentials: "include"}),
    chatBlob: fetched(chat, {method: "POST", body: bare(asked)}),
    chatUnread: fetched(chat, {method: "POST", body: bare(asked), mode: "no-cors"}),
    chat: fetched(chat, {method: "POST", body: asked, headers: json}),
    models: fetched(`${endpoint}/v1/models`),
    form: sent(run, body),
    chatForm: sent(chat, asked),
    image: loaded(added("img", {src: `${prefect}/ico/favicon-16x16.png`}), "load", "error"),
    script: loaded(added("script", {src: `${endpoint}/v1/models`}), "load", "error"),
    source: loaded(new EventSource(`${prefect}/api/health`), "open", "error"),
    chatSource: loaded(new EventSource(`${endpoint}/v1/models`), "open", "error"),
    socket: loaded(new WebSocket(`${prefect.replace("http", "ws")}/api/events/out`, ["prefect"]), "open", "error"),
    socketIn: loaded(new WebSocket(`${prefect.replace("http", "ws")}/api/events/in`, ["prefect"]), "open", "error"),
    chatSocket: loaded(new WebSocket(`${endpoint.replace("http", "ws")}/v1/chat/completions`), "open", "error"),
    beacon: Promise.resolve(`${navigator.sendBeacon(run, bare(body))}`),
};
const told = Object.entries(tries).map(async ([name, tried]) => [name, await tried]);
Promise.all(told).then(all => done(Object.fromEntries(all)));
"""
BLIND = {"unread": "opaque 0 ", "chatUnread": "opaque 0 ", "form": "opened", "chatForm": "opened", "beacon": "true"}
"""What a page is told of requests whose answer it may not see, whatever the answer is."""


def _tried(browser, home, harm):
    body = json.dumps({"parameters": {"path": str(harm)}, "job_variables": {"command": f"touch {harm}"}})
    browser.get_log("performance")
    told = browser.execute_async_script(TRIES, home.prefect, home.endpoint, home.key, home.deployment["id"], body)
    sent, statuses = {}, []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        found = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            sent[found["requestId"]] = found["request"]["url"]
        elif message["method"] == "Network.responseReceivedExtraInfo":
            statuses.append((sent.get(found["requestId"], ""), found["statusCode"]))
    return told, [status for url, status in statuses if url.startswith((home.prefect, home.endpoint))]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_web_page_of_another_origin_reads_nothing_and_runs_nothing(browser, home, pages, unharmed, name):
    browser.get(f"http://{name}:{pages[0]}/")
    told, statuses = _tried(browser, home, unharmed)
    assert told == {tried: BLIND.get(tried, "refused") for tried in told} and len(told) > 20
    assert len(statuses) > 10 and set(statuses) == {403}


def test_a_page_of_its_own_is_served(browser, home, unharmed):
    """The same script, where it comes from the port itself: so it is the door that stops it elsewhere."""
    browser.get(f"{home.prefect}/api/health")
    told, _ = _tried(browser, home, unharmed)
    assert told["health"] == "basic 200 true" and told["keyedRead"].startswith("basic 200")
    assert told["image"] == told["socket"] == "opened"
    assert told["blob"].startswith("basic 401") and told["keyed"].startswith("basic 422")
    assert told["models"] == told["chatSocket"] == "refused"  # of another port it is another page


def test_a_page_of_an_allowed_origin_asks_and_reads(browser, home, pages):
    browser.get(f"http://localhost:{pages[1]}/")
    told = browser.execute_async_script(
        """
        const [prefect, endpoint, key, done] = arguments;
        const headers = {"Content-Type": "application/json", "X-Fugu-Trace": "1", Authorization: "Bearer none"};
        const body = JSON.stringify({model: "fugu", messages: [{role: "user", content: "What is 17 * 24 + 5?"}]});
        (async () => {
            const answer = await fetch(`${endpoint}/v1/chat/completions`, {method: "POST", body, headers});
            const runs = await fetch(`${prefect}/api/flow_runs/filter`,
                {method: "POST", body: "{}", headers: {"Content-Type": "application/json", ...key}});
            return [(await answer.json()).choices[0].message.content, answer.headers.get("X-Fugu-Worker"), runs.status];
        })().then(done, error => done(`${error}`));
        """,
        home.prefect,
        home.endpoint,
        home.key,
    )
    assert told[0].endswith("413") and told[1:] == ["calc", 200]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_whoever_has_the_secret_opens_the_ui(browser, home, name):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    url = home.prefect.replace("127.0.0.1", name)
    wanted = home.api.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()[0]["name"]
    browser.get(url)
    patient = WebDriverWait(browser, 30)
    field = patient.until(lambda b: b.find_elements(By.CSS_SELECTOR, "input[type=password]"))[0]
    assert wanted not in browser.page_source
    field.send_keys(home.secret + "\n")
    patient.until(lambda b: "login" not in b.current_url)
    browser.get(f"{url}/runs")
    patient.until(lambda b: wanted in b.page_source)
