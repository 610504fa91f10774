"""A workflow's picture: every step, every arrow that is worth drawing, and nothing that breaks the page."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

from models.conductor.run.drawing import GAP, svg
from models.conductor.run.request import StepRecord


def records(*sees, subtask="do it"):
    return [StepRecord("w", index, subtask, "a", seen, state="done") for index, seen in enumerate(sees)]


SVG = "{http://www.w3.org/2000/svg}"


def drawn(*rounds):
    """The boxes, as (left, top, right, bottom), the arrows, as lists of points, and the order of drawing."""
    root = ElementTree.fromstring(svg(*rounds))
    boxes = []
    for box in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        boxes.append((x, y, x + width, y + height))
    lines = [
        [tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in root.iter(f"{SVG}polyline")
    ]
    return boxes, lines, [one.tag.removeprefix(SVG) for one in root]


def test_the_drawing_puts_each_step_below_what_it_sees_and_draws_no_arrow_that_another_path_implies():
    boxes, arrows, order = drawn(records((), (), (0, 1), (0, 1, 2)))
    assert boxes[0][1] == boxes[1][1] < boxes[2][1] < boxes[3][1]
    assert boxes[0][0] < boxes[1][0] and len(set(boxes)) == 4
    assert len(arrows) == 3
    assert order.index("rect") > max(i for i, tag in enumerate(order) if tag == "polyline")  # arrows behind boxes


def test_an_arrow_passes_beside_the_steps_of_the_layers_between():
    boxes, arrows, _ = drawn(records((), (0,), (1,), (2,), (), (3, 4)))
    long = max(arrows, key=len)
    assert long[0][1] == boxes[4][3] and long[-1][1] == boxes[5][1]
    for (x1, y1), (x2, y2) in pairwise(long):
        for left, top, right, bottom in boxes:
            for share in (0.25, 0.5, 0.75):
                x, y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
                assert not (left < x < right and top < y < bottom)


def test_several_rounds_are_one_drawing():
    boxes, _, _ = drawn(records((), (0,)), records(()))
    assert len(boxes) == 3 and boxes[2][1] >= boxes[1][3] + GAP
    assert "Round 2" in svg(records(()), records(())) and "Round" not in svg(records(()))


def test_a_step_says_its_worker_its_time_and_its_cost():
    [record] = records(())
    spent = replace(record, seconds=1.25, cost_usd=0.0031, worker="ada")
    assert all(words in svg([spent]) for words in ("1. ada", "do it", "1.25 s", "0.003100 USD"))
    assert "do it" not in svg([spent], texts=False)
    assert "failed: 1.25 s" in svg([replace(spent, state="failed")])


def test_a_subtask_cannot_break_out_of_the_page():
    steps = records((), subtask='</svg>"]\n`<script>#quot;')
    assert "<script" not in svg(steps)
    ElementTree.fromstring(svg(steps))
