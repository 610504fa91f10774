"""A bar ends where it should, and a page begins with what a person wants to know."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest

from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import entry
from models.evaluation.table import table
from tasks.pages import comparison, links, report
from tasks.pages.comparison import comparison_page, evidence
from tasks.pages.links import request_url
from tasks.pages.report import Progress


@pytest.fixture
def bars(monkeypatch):
    """What a server would show of bars; its answers come when it likes."""
    shown, turn = [], SimpleNamespace(slow=True)

    async def create(percent, **_):
        shown.append(percent)
        return uuid4()

    async def update(_, percent):
        slow, turn.slow = turn.slow, False
        for _ in range(20 if slow else 1):  # the first update takes longer than the second
            await asyncio.sleep(0)
        shown.append(percent)

    monkeypatch.setattr(report, "acreate_progress_artifact", create)
    monkeypatch.setattr(report, "aupdate_progress_artifact", update)
    return shown


async def test_a_bar_ends_at_100_percent_also_where_an_earlier_update_takes_longer(bars):
    progress = await Progress.start("labelling", 10)
    await asyncio.gather(progress.add(9), progress.add(1))
    assert bars[0] == 0 and bars[-1] == 100


async def test_where_there_is_nothing_to_do_the_bar_is_full(bars):
    await (await Progress.start("labelling", 0)).add(0)
    assert bars == [100]


def entries():
    scores = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    best = scores.argmax(axis=1)
    single = np.ones(4, int)
    found = [entry(name, np.full(4, index), scores) for index, name in enumerate(("ant", "bee"))]
    others = {BEST_SINGLE: single, ORACLE: best, "fugu (evolved)": best}
    return [*found, *(entry(name, choices, scores) for name, choices in others.items())]


async def test_a_comparison_begins_with_its_verdict_in_two_sentences_and_a_plot(monkeypatch):
    pages = []

    async def publish(key, happened, parts):
        pages.append((key, happened, parts))

    monkeypatch.setattr(comparison, "publish", publish)
    monkeypatch.setattr(comparison, "write_report", lambda name, text: None)
    lines = ["fugu (evolved): promoted"]
    await comparison_page({"seen": entries()}, ("ant", "bee"), "fugu is now served by it.", ["fugu (evolved)"], lines)
    [(key, happened, parts)] = pages
    assert key == "comparison" and happened.count(". ") == 1 and happened.endswith(".")
    assert happened.startswith("fugu is now served by it. On 4 held-out questions (seen) fugu (evolved) scores 1.000")
    assert "the best single worker, bee, 0.750" in happened
    assert parts[0].startswith("![seen](data:image/svg+xml;base64,")
    assert [part.startswith("## ") for part in parts[1:]] == [True, False, True, False]
    assert lines[0] in parts[-1]


async def test_where_workers_cost_something_the_one_plot_on_top_is_of_cost_and_score(tmp_path, monkeypatch):
    parts, files = [], {}

    async def publish(key, happened, given):
        parts.extend(given)

    monkeypatch.setattr(comparison, "publish", publish)
    monkeypatch.setattr(comparison, "write_report", files.__setitem__)
    usd = np.tile([1e-4, 1e-3], (4, 1))
    priced = [replace(each, costs=(each.shares * usd).sum(axis=1)) for each in entries()]
    await comparison_page({"seen": priced}, ("ant", "bee"), "It serves.", ["fugu (evolved)"], ["promoted <b>"])
    assert parts[0].startswith("![cost and score, seen](data:image/svg+xml;base64,")
    assert files.keys() == {f"comparison{end}" for end in ("-cost.svg", "-1.svg", ".csv", ".json", ".html")}
    page = files["comparison.html"]
    drawing = page.index("USD for 1,000 questions")
    assert page.index("It serves.") < drawing < page.index("<table") and "promoted &lt;b&gt;" in page
    assert json.loads(files["comparison.json"])["groups"]["seen"][0]["name"] == "ant"
    assert files["comparison.csv"].startswith("group,name,n,score,")


def test_the_evidence_leaves_out_a_router_that_was_not_measured():
    rows = table(entries(), ("ant", "bee"))
    assert "the best single worker, bee, scores 0.750" in evidence("seen", rows, ["trinity (evolved)"])


def test_a_request_is_linked_to_where_the_endpoint_is_known_to_be(tmp_path, monkeypatch):
    monkeypatch.setenv("FUGU_HOME", str(tmp_path))
    monkeypatch.delenv("FUGU_ENDPOINT_URL", raising=False)
    assert request_url("chatcmpl-1") == ""
    (tmp_path / links.ANNOUNCED).write_text('{"url": "http://127.0.0.1:8123", "pid": 1}')
    assert request_url("chatcmpl-1") == "http://127.0.0.1:8123/requests/chatcmpl-1"
    monkeypatch.setenv("FUGU_ENDPOINT_URL", "https://fugu.example/")
    assert request_url("a b/0") == "https://fugu.example/requests/a%20b%2F0"
