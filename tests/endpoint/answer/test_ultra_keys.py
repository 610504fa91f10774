"""`Idempotency-Key`: one key is one request, whoever asks, as often as they ask, and after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from request_rows import recent_requests

from deployments.migrations import upgrade
from models.ledger import registry
from models.ledger.store import Ledger

ADA = {"kind": "worker", "worker": "ada"}
BODY = {"model": "fugu-ultra", "messages": [{"role": "user", "content": "hello"}]}
KEY = {"Idempotency-Key": "one"}


def until(reached) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process or thread is waited for, which can only be asked


@pytest.fixture
def post(house, plan):
    """Posts to an endpoint whose plan is ada, then a worker that is silent until it is released."""
    with house(fugu=ADA, plan=plan(("ada", "first", []), ("silent", "second", [0]))) as here:

        def send(headers=KEY, **change):
            return here.raw.post("/v1/chat/completions", json={**BODY, **change}, headers=headers)

        yield send


def test_the_same_key_gets_the_same_bytes_and_pays_once(post, upstream, ledger):
    upstream.released.set()
    first, again, streamed = post(), post(), post(stream=True)
    assert first.status_code == again.status_code == 200 and first.content == again.content
    assert first.headers["x-request-id"] == again.headers["x-request-id"] == first.json()["id"]
    assert first.json()["choices"][0]["message"]["content"] in streamed.text and "working" not in streamed.text
    assert len(upstream.seen) == 2 and len(recent_requests(ledger)) == 1
    assert "one" not in json.dumps(recent_requests(ledger)[0]["key"])


def test_other_keys_and_no_key_are_other_requests(post, upstream, ledger):
    upstream.released.set()
    ids = {post(headers).json()["id"] for headers in (KEY, {"Idempotency-Key": "two"}, {}, {})}
    assert len(ids) == 4 and len(upstream.seen) == 8


def test_the_same_key_with_another_request_is_a_conflict(post, upstream):
    upstream.released.set()
    post()
    for change in ({"messages": [{"role": "user", "content": "bye"}]}, {"fugu": {"max_calls": 7}}, {"seed": 1}):
        answer = post(**change)
        assert answer.status_code == 409 and answer.json()["error"]["code"] == "idempotency_key_reused"
    assert post({**KEY, "X-Fugu-Workers": "ada"}).status_code == 409
    assert len(upstream.seen) == 2


def test_the_same_key_joins_the_request_that_runs(post, upstream):
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(post) for _ in range(3)]
        until(lambda: len(upstream.seen) == 2)
        assert post(seed=1).status_code == 409
        upstream.released.set()
        assert len({answer.result().content for answer in asked}) == 1
    assert len(upstream.seen) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_cannot_be_one_is_refused(post, key):
    answer = post({"Idempotency-Key": key})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "Idempotency-Key"


def test_a_refused_request_does_not_use_up_its_key(post, upstream):
    upstream.released.set()
    assert post(seed="x").status_code == 400 and post(fugu={"allowed_workers": ["x"]}).status_code == 400
    assert post().status_code == 200


def test_a_failed_request_is_tried_again_under_its_key_and_pays_no_finished_step_again(post, upstream, ledger):
    upstream.failing.add("second")
    upstream.released.set()
    only = {"allowed_workers": ["ada", "silent"]}
    assert post(fugu=only).status_code == 502
    assert recent_requests(ledger)[0]["status"] == "failed"
    upstream.failing.clear()
    assert post(fugu=only).status_code == 200
    assert [body["model"] for body in upstream.seen if "first" in str(body["messages"][-1])] == ["ada"]


def test_a_client_that_goes_away_comes_back_with_its_key_for_the_answer(house, upstream, plan, ledger):
    with house(fugu=ADA, plan=plan(("silent", "wait", []))) as here:
        with pytest.raises(httpx.ReadTimeout):
            here.raw.post("/v1/chat/completions", json=BODY, headers=KEY, timeout=0.3)
        assert upstream.arrived.is_set()
        time.sleep(0.2)  # that nothing happens has no event
        assert not upstream.gone.is_set() and recent_requests(ledger)[0]["status"] == "running"
        upstream.released.set()
        answer = here.raw.post("/v1/chat/completions", json=BODY, headers=KEY)
    assert answer.status_code == 200 and len(upstream.seen) == 1


@pytest.fixture(scope="module")
def begun(tmp_path_factory, _upstream) -> dict[str, str]:
    """The environment of a home whose plan is ada, then a worker that is silent until it is released."""
    tmp_path, (_, upstream_url) = tmp_path_factory.mktemp("begun"), _upstream
    base = f"api_base: {upstream_url}/v1, price: {{}}"
    people = [f"{{name: {name}, model: openai/{name}, {base}}}" for name in ("ada", "silent")]
    (tmp_path / "pool.yaml").write_text(f"workers: [{', '.join(people)}]")
    (tmp_path / "plan.txt").write_text('model_id = [0, 1]\nsubtasks = ["a", "b"]\naccess_list = [[], ["all"]]')
    upgrade(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    for model in ("fugu", "trinity"):
        registry.promote(ledger, model, {"kind": "worker", "worker": "ada"}, "test")
    ledger.close()
    mine = {"FUGU_HOME": str(tmp_path), "FUGU_POOL": str(tmp_path / "pool.yaml"), "FUGU_LEASE_S": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "FUGU_"))}
    return {**kept, **mine, "FUGU_CONDUCTOR": f"fixed:{tmp_path / 'plan.txt'}"}


def start(home) -> tuple[subprocess.Popen[str], str]:
    """An endpoint of its own process, ready to conduct."""
    command = [sys.executable, "-m", "deployments.endpoint", "--port", "0"]
    process = subprocess.Popen(command, env=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/")
    url = json.loads(process.stdout.readline())["url"]
    with httpx.Client() as http:
        until(lambda: process.poll() is not None or http.get(url + "/readyz").json()["conductor"])
    assert process.poll() is None
    return process, url


def send(url):
    return httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=KEY, timeout=60)


def fugu(home, *words) -> bytes:
    """What a command of `fugu` prints."""
    command = [sys.executable, "-c", "from deployments.cli import main; main()", *words]
    done = subprocess.run(command, env=home, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def killed(begun, _upstream) -> str:
    """The id of a request whose endpoint was killed while its second step was under way; made once, to be copied."""
    upstream, _ = _upstream
    upstream.forget()
    process, url = start(begun)
    with ThreadPoolExecutor(1) as thread:
        cut = thread.submit(send, url)
        until(lambda: len(upstream.seen) == 2)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            cut.result()
    process.communicate()
    # ada's step was settled before the kill.
    assert [body["model"] for body in upstream.seen] == ["ada", "silent"]
    ledger = Ledger(f"sqlite:///{begun['FUGU_HOME']}/ledger.db")
    [row] = recent_requests(ledger)
    ledger.close()
    assert row["status"] == "running"
    return row["id"]


@pytest.fixture
def home(begun, killed, tmp_path) -> dict[str, str]:
    """A copy of the home as the kill left it."""
    shutil.copytree(begun["FUGU_HOME"], tmp_path / "home")
    return begun | {"FUGU_HOME": str(tmp_path / "home")}


@pytest.mark.programs
@pytest.mark.parametrize("way", ["key", "resume"])
def test_after_a_kill_a_request_goes_on_where_it_was_and_then_says_the_same_for_ever(killed, home, upstream, way):
    upstream.released.set()
    resumed = fugu(home, "resume", killed) if way == "resume" else b""
    process, url = start(home)
    try:
        answer = send(url)
        assert answer.status_code == 200 and answer.json()["id"] == killed
        told = httpx.post(f"{url}/v1/chat/completions", json=BODY, headers={**KEY, "X-Fugu-Trace": "1"}).json()["fugu"]
        [lost] = told["maybe_paid"]
        assert (lost["worker"], lost["scope"], lost["attempt"]) == ("silent", f"{killed}/0", 1)
    finally:
        process.kill()
        process.communicate()
    assert fugu(home, "replay", killed) == answer.content + b"\n"
    assert resumed.decode().strip() in answer.json()["choices"][0]["message"]["content"]
    # ada is not asked again, the step that was in flight is.
    assert [body["model"] for body in upstream.seen] == ["silent"]
