"""What Prometheus reads of an endpoint: counts and times with bounded labels, also of what its annex answered."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.endpoint.watching.metrics import FOLDER

ECHO = {"kind": "worker", "worker": "echo"}
HELLO = [{"role": "user", "content": "hello"}]


def read(page: str) -> dict[tuple, float]:
    """(name, *label values sorted by label's name) -> value."""
    families = text_string_to_metric_families(page)
    samples = [sample for family in families for sample in family.samples]
    return {(s.name, *(value for _, value in sorted(s.labels.items()))): s.value for s in samples}


@pytest.fixture
def scraped(house, upstream):
    """What is read after some questions."""
    with house(fugu=ECHO) as here:
        create = here.client.chat.completions.create
        create(model="fugu", messages=HELLO)
        list(create(model="fugu", messages=HELLO, stream=True))
        for model, workers in (("fugu", ["e500"]), ("fugu@no-such-pin", None), ("my secret prompt", None)):
            with pytest.raises(openai.APIStatusError):
                create(model=model, messages=HELLO, extra_body={"fugu": {"allowed_workers": workers}})
        end = time.monotonic() + 10
        while True:
            answer = here.raw.get("/metrics")
            if read(answer.text)["fugu_queue_depth", "ledger"] == 0 or time.monotonic() > end:
                break
            time.sleep(0.01)  # what lingers to be written with others is seen here alone
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        yield answer.text


def test_requests_and_calls_are_counted_by_names_that_exist_here(scraped):
    assert "secret" not in scraped and "no-such-pin" not in scraped and "hello" not in scraped
    found, path = read(scraped), "/v1/chat/completions"
    of_requests = {key[1:]: value for key, value in found.items() if key[0] == "fugu_requests_total"}
    assert of_requests == {
        ("fugu", "200", "false", path): 1,
        ("fugu", "200", "true", path): 1,
        ("fugu", "502", "false", path): 1,
        ("fugu", "404", "false", path): 1,
        ("other", "404", "false", path): 1,
    }
    assert found["fugu_request_first_byte_seconds_count", "fugu", path] == 1
    assert found["fugu_request_tokens_total", "input", "fugu"] == 10
    assert found["fugu_request_cost_usd_total", "fugu"] == pytest.approx(2 * 11e-6)
    assert found["fugu_requests_in_flight", path] == 0
    assert (
        found["fugu_calls_total", "ok", "echo"] == 2 and found["fugu_calls_total", "UpstreamUnavailable", "e500"] == 1
    )
    assert found["fugu_call_first_byte_seconds_count", "echo"] == 1 and found["fugu_calls_in_flight", "echo"] == 0
    assert found["fugu_call_tokens_total", "output", "echo"] == 6
    assert found["fugu_breaker_open", "echo"] == 0 and found["fugu_queue_depth", "ledger"] == 0
    assert found["process_resident_memory_bytes",] > 0


COUNTING = """
import sys
from deployments.endpoint.watching.metrics import Metrics, Now, share
share(sys.argv[1])
metrics = Metrics()
metrics.calls.labels("a", "ok").inc()
metrics.calls_now.labels("a").inc()
print(metrics.page(Now({}, {}), annex_lives=False).decode())
"""


def test_processes_share_their_counts_and_the_dead_have_nothing_under_way(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def counted(name):
        done = subprocess.run([sys.executable, "-c", COUNTING, name], env=environment, capture_output=True, text=True)
        found = read(done.stdout)
        return found["fugu_calls_total", "ok", "a"], found.get(("fugu_calls_in_flight", "a"), 0)

    # The names are those of processes: 99999999 is none, 1 is one that lives.
    assert counted("99999999") == (1, 0) and counted("1") == (2, 1)
    assert counted("1") == (3, 1) and counted("1-annex") == (4, 2)


SHARING = """
import os, sys
from deployments.endpoint.watching.metrics import FOLDER, Metrics, share
remove = share(sys.argv[1])
Metrics().calls.labels("a", "ok").inc()
print(os.environ[FOLDER], flush=True)
sys.stdin.read()
remove()
"""


def test_folders_of_killed_processes_are_removed_by_the_next_start_and_those_of_living_ones_stay(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop(FOLDER, None)
    started = []

    def start(**more):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = subprocess.Popen([sys.executable, "-c", SHARING, "1"], env=environment | more, **pipes)
        started.append(running)
        return running, running.stdout.readline().strip()

    try:
        killed, left = start()
        parent, shared = start()
        child, same = start(**{FOLDER: shared})  # as one of several processes on a port, or an annex
        assert same == shared and sorted(map(str, tmp_path.iterdir())) == sorted({left, shared})
        for each in (killed, parent):
            each.kill()
            each.wait(20)
        later, new = start()
        assert sorted(map(str, tmp_path.iterdir())) == sorted({shared, new})  # its child still counts there
        later.communicate("", timeout=20)
        child.kill()
        child.wait(20)
        last, newest = start()
        assert [str(each) for each in tmp_path.iterdir()] == [newest]
        last.communicate("", timeout=20)
        assert not list(tmp_path.iterdir()) and last.returncode == 0
    finally:
        for each in started:
            each.kill()
            each.wait(20)
            for pipe in (each.stdin, each.stdout):
                pipe.close()
