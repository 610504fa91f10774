"""The pages of the endpoint: what they say, to whom, and that nothing said by anybody is more than text in them."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
from starlette.requests import Request

from deployments.endpoint.pages.sight import Sight, without_keys
from models.ledger.providers.breakers import open_breaker
from models.ledger.retention import prune

EVIL = "<script>alert(1)</script>"
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def say(here, model, text, **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return here.raw.post("/v1/chat/completions", json=body)


def page(here, path="/", **headers):
    """The page once all that was answered is in the ledger, for which no answer waits."""
    answer = here.raw.get(path, headers=headers)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "script" not in policy and "unsafe" not in policy
    assert EVIL not in answer.text and not re.search(r"\s(?:src|on\w+|style)=|url\((?!#)|<script|<link", answer.text)
    return answer


def listed(here, id):
    until = time.monotonic() + 10
    while id not in (found := page(here)).text:
        assert time.monotonic() < until
        time.sleep(0.01)  # the row appears without a word
    return found.text


@pytest.fixture
def asked(house, router, ledger, plan):
    """An endpoint with a router, after a question to each kind of model."""
    made, _ = router([("echo", None)], roles=False)
    steps = plan(("ada", f"first {EVIL}", []), ("bob", "then", [0]))
    with house(**made, plan=steps) as here:
        open_breaker(ledger, "e401", "", f"it said {EVIL}", None)
        here.failed = say(here, "fugu", "hello", fugu={"allowed_workers": ["e429"], "failover": False})
        here.routed = say(here, "fugu", f"hello {EVIL}").headers["X-Request-Id"]
        here.conducted = say(here, "fugu-ultra", f"what is {EVIL}?").headers["X-Request-Id"]
        yield here


def test_the_first_page_says_how_it_is_and_what_was_decided_last(asked):
    text = listed(asked, asked.routed)
    assert 'class="good">up' in text and re.search(r"<b>fugu</b>.*router .* since", text)
    rows = {name: row for row in text.split("<tr>") for name in re.findall(r"^\s*<td>([^<]+)</td>", row)}
    assert "until somebody acts" in rows["e401"] and "it said" in rows["e401"] and "asked</span>" in rows["echo"]
    assert "recorded scores only" in rows["past"] and re.search(r'class="n">1</td><td class="n">1</td>', rows["e429"])
    [decision] = [row for row in text.split("<tr>") if asked.routed in row]
    assert "echo" in decision and "+0.500" in decision and "200" in decision and "$0.000011" in decision
    assert "RateLimited" in text and "Spent since" in text
    assert "<svg" in text and "1. ada" in text and "then" in text and "&lt;script&gt;" in text


def test_the_page_of_a_request_has_question_plan_steps_replies_and_costs(asked):
    text = page(asked, f"/requests/{asked.conducted}").text
    assert "what is &lt;script&gt;alert(1)&lt;/script&gt;?" in text and "<svg" in text
    assert "ada: Step 1, your subtask" in text and "first &lt;script&gt;" in text and "sees 1" in text
    assert "settled" in text and text.count("try 1: settled") == 2 and "8 tokens" in text and "$0.000011" in text
    listed(asked, asked.routed)
    routed = page(asked, f"/requests/{asked.routed}").text
    assert "hello &lt;script&gt;" in routed and "one two three" in routed and "+0.500" in routed
    missing = page(asked, "/requests/no/such<i>")
    assert missing.status_code == 404 and "<i>" not in missing.text


def test_a_visit_from_elsewhere_gets_figures_and_no_word_that_was_said(asked):
    listed(asked, asked.routed)
    for headers in (FOREIGN, {"X-Forwarded-For": "192.0.2.1"}):
        for path in ("/", f"/requests/{asked.conducted}", f"/requests/{asked.routed}"):
            text = page(asked, path, **headers).text
            assert asked.conducted in text or asked.routed in text
            assert not re.search(r"script|one two three|hello|it said|subtask", text.replace("Subtask", ""))
            assert "not shown to this visit" in text


def test_what_was_pruned_leaves_its_figures(asked, ledger):
    listed(asked, asked.routed)
    prune(ledger, timedelta(0), 0)
    text = page(asked, f"/requests/{asked.routed}").text
    assert "Its texts were deleted" in text and "echo" in text and "+0.500" in text and "one two three" not in text
    assert page(asked).status_code == page(asked, f"/requests/{asked.conducted}").status_code == 200


def test_earlier_requests_are_a_link_away_and_a_time_that_is_none_is_refused(asked):
    listed(asked, asked.routed)
    assert "Nothing was asked yet" in page(asked, "/?before=2020-01-01T00:00:00Z").text
    assert page(asked, "/?before=yesterday").status_code == page(asked, "/?before=0001-01-01").status_code == 400


def test_whoever_may_see_nothing_is_asked_for_a_key(house):
    async def nothing(request):
        return Sight.NOTHING

    with house(fugu={"kind": "worker", "worker": "echo"}, sees=nothing) as here:
        for path in ("/", "/requests/x", "/metrics"):
            answer = here.raw.get(path)
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("client", "host", "headers", "sight"),
    [
        ("127.0.0.1", "127.0.0.1:8000", {}, Sight.TEXTS),
        ("127.0.0.1", "localhost:8000", {"Sec-Fetch-Site": "none"}, Sight.TEXTS),
        ("::1", "[::1]:8000", {"Sec-Fetch-Site": "same-origin"}, Sight.TEXTS),
        ("127.0.0.1", "127.0.0.2:8000", {"Sec-Fetch-Site": "same-site"}, Sight.TEXTS),
        ("127.0.0.1", "127.0.0.1:8000", {"Sec-Fetch-Site": "cross-site"}, Sight.FIGURES),
        ("127.0.0.1", "fugu.example", {}, Sight.FIGURES),
        ("192.0.2.1", "127.0.0.1:8000", {}, Sight.FIGURES),
        ("127.0.0.1", "127.0.0.1:8000", {"Forwarded": "for=192.0.2.1"}, Sight.FIGURES),
    ],
)
async def test_without_keys_texts_are_for_this_machine(client, host, headers, sight):
    raw = [(name.lower().encode(), value.encode()) for name, value in {"Host": host, **headers}.items()]
    assert await without_keys(Request({"type": "http", "client": (client, 1), "headers": raw})) is sight
