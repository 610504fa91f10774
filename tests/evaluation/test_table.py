"""The table says what the metrics say, survives JSON, and draws."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.errors import BadInput
from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import difference, entry
from models.evaluation.plot import plot
from models.evaluation.table import markdown, table

WORKERS = ["calc", "lingua"]
SCORES = np.random.default_rng(0).random((200, 2))
COSTS = np.tile([0.001, 0.002], (200, 1))
ENTRIES = [
    entry("calc", np.zeros(200, int), SCORES, COSTS),
    entry(BEST_SINGLE, np.ones(200, int), SCORES, COSTS),
    entry("random", np.full((200, 2), 0.5), SCORES, COSTS),
    entry(ORACLE, SCORES.argmax(axis=1), SCORES, COSTS),
]


def test_every_entry_has_a_row_with_the_figures_of_the_metrics():
    rows = {row["name"]: row for row in table(ENTRIES, WORKERS)}
    assert list(rows) == [e.name for e in ENTRIES]
    gain = difference(ENTRIES[0], ENTRIES[1])
    assert (rows["calc"]["gain"], rows["calc"]["gain_low"]) == pytest.approx((gain.value, gain.low))
    assert rows[BEST_SINGLE]["gap_closed"] == 0 and rows[ORACLE]["gap_closed"] == 1
    assert rows["random"]["cost_per_1000"] == pytest.approx(1.5)
    assert rows["random"]["shares"] == {"calc": 0.5, "lingua": 0.5}
    assert all(row["low"] <= row["score"] <= row["high"] and row["n"] == 200 for row in rows.values())


def test_rows_are_json_and_the_same_each_time():
    assert json.loads(json.dumps(table(ENTRIES, WORKERS))) == table(ENTRIES, WORKERS)


def test_without_a_gap_the_figure_is_none_and_the_page_still_prints():
    flat = [entry(name, np.zeros(9, int), np.full((9, 2), 0.5)) for name in (BEST_SINGLE, ORACLE)]
    rows = table(flat, WORKERS)
    assert rows[0]["gap_closed"] is None and rows[0]["gap_low"] is None and "–" in markdown(rows)


def test_markdown_has_a_line_per_row_and_escapes_bars():
    odd = entry("a|b", np.zeros(200, int), SCORES)
    page = markdown(table([*ENTRIES, odd], WORKERS)).splitlines()
    assert len(page) == 2 + 5 and "a\\|b" in page[-1]
    assert "[" in page[2] and "calc 100%" in page[2]


@pytest.mark.parametrize("entries", [ENTRIES[:1], ENTRIES[:2], []])
def test_a_table_without_its_references_is_refused(entries):
    with pytest.raises(BadInput):
        table(entries, WORKERS)


def test_entries_on_different_questions_are_refused():
    with pytest.raises(BadInput):
        table([*ENTRIES, entry("short", np.zeros(9, int), SCORES[:9])], WORKERS)


def test_the_plot_is_an_image_and_reproducible():
    rows = table(ENTRIES, WORKERS)
    assert plot(rows, "held out", "png").startswith(b"\x89PNG")
    image = plot(rows)
    assert b"<svg" in image and image == plot(rows)
