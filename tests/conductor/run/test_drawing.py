"""A workflow's picture: every step, every arrow that is worth drawing, and nothing that breaks the page."""

from __future__ import annotations

from xml.etree import ElementTree

from models.conductor.run.drawing import mermaid, svg
from models.conductor.run.request import StepRecord


def records(*sees, subtask="do it"):
    return [StepRecord("w", index, subtask, "a", seen, state="done") for index, seen in enumerate(sees)]


def test_the_graph_has_the_steps_and_no_arrow_that_another_path_implies():
    text = mermaid(records((), (0,), (0, 1)))
    arrows = [line.strip() for line in text.splitlines() if "-->" in line]
    assert arrows == ["s0 --> s1", "s1 --> s2", "s2 --> answer([answer])"]


def test_the_drawing_puts_each_step_below_what_it_sees():
    root = ElementTree.fromstring(svg(records((), (), (0, 1), (2,))))
    boxes = [(float(box.get("x")), float(box.get("y"))) for box in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert boxes[0][1] == boxes[1][1] < boxes[2][1] < boxes[3][1]
    assert boxes[0][0] < boxes[1][0] and len(set(boxes)) == 4
    assert len(list(root.iter("{http://www.w3.org/2000/svg}line"))) == 3


def test_a_subtask_cannot_break_out_of_the_page():
    steps = records((), subtask='</svg>"]\n`<script>#quot;')
    assert "<script" not in svg(steps) + mermaid(steps)
    assert mermaid(steps).count('"') == 2
    ElementTree.fromstring(svg(steps))
