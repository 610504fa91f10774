"""Web pages in a real Chromium: one of another origin reads and runs nothing; who may come in does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

TRIES = Path(__file__).with_name("foreign_page.js").read_text()
BLIND = {"unread": "opaque 0 ", "chatUnread": "opaque 0 ", "form": "opened", "chatForm": "opened", "beacon": "true"}
"""What a page is told of requests whose answer it may not see, whatever the answer is."""


def _tried(browser, house, harm):
    body = json.dumps({"parameters": {"path": str(harm)}, "job_variables": {"command": f"touch {harm}"}})
    browser.get_log("performance")
    told = browser.execute_async_script(TRIES, house.prefect, house.endpoint, house.key, house.deployment["id"], body)
    sent, statuses = {}, []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        found = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            sent[found["requestId"]] = found["request"]["url"]
        elif message["method"] == "Network.responseReceivedExtraInfo":
            statuses.append((sent.get(found["requestId"], ""), found["statusCode"]))
    return told, [status for url, status in statuses if url.startswith((house.prefect, house.endpoint))]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_web_page_of_another_origin_reads_nothing_and_runs_nothing(browser, house, pages, unharmed, name):
    browser.get(f"http://{name}:{pages[0]}/")
    told, statuses = _tried(browser, house, unharmed)
    assert told == {tried: BLIND.get(tried, "refused") for tried in told} and len(told) > 20
    assert len(statuses) > 10 and set(statuses) == {403}


def test_a_page_of_its_own_is_served(browser, house, unharmed):
    """The same script, where it comes from the port itself: so it is the door that stops it elsewhere."""
    browser.get(f"{house.prefect}/api/health")
    told, _ = _tried(browser, house, unharmed)
    assert told["health"] == "basic 200 true" and told["keyedRead"].startswith("basic 200")
    assert told["image"] == told["socket"] == "opened"
    assert told["blob"].startswith("basic 401") and told["keyed"].startswith("basic 422")
    assert told["models"] == told["chatSocket"] == "refused"  # of another port it is another page


def test_a_page_of_an_allowed_origin_asks_and_reads(browser, house, pages):
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
        house.prefect,
        house.endpoint,
        house.key,
    )
    assert told[0].endswith("413") and told[1:] == ["calc", 200]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_whoever_has_the_secret_opens_the_ui(browser, house, name):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    url = house.prefect.replace("127.0.0.1", name)
    paused = {"state": {"type": "PAUSED"}, "parameters": {"path": "/nowhere"}}
    run = house.api.post(f"/deployments/{house.deployment['id']}/create_flow_run", json=paused)
    wanted = run.json()["name"]
    browser.get(url)
    patient = WebDriverWait(browser, 30)
    field = patient.until(lambda b: b.find_elements(By.CSS_SELECTOR, "input[type=password]"))[0]
    assert wanted not in browser.page_source
    field.send_keys(house.secret + "\n")
    patient.until(lambda b: "login" not in b.current_url)
    browser.get(f"{url}/runs")
    patient.until(lambda b: wanted in b.page_source)
