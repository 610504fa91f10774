"""A request's workflows as one drawing: SVG, each step below all steps that it sees, readable on any background."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from models.conductor.run.request import StepRecord

WIDTH, HEIGHT, GAP, LANE, TIP = 230, 76, 36, 20, 10
"""Pixels: of a box, between boxes, for an arrow that passes a layer beside the boxes, and of its straight end."""

TEXT = 32
"""Characters of a subtask."""

COLOURS = {"done": "#e6f4ea", "failed": "#fce8e6", "awaiting-tools": "#fef7e0", "passed over": "#f1f3f4"}

INK, PALE = "#202124", "#5f6368"

Edge = tuple[int, int]
"""The index of a step, and of one that sees it."""


def svg(*rounds: Sequence[StepRecord], texts: bool = True) -> str:
    """The rounds below one another, on a white ground. `texts`: whether subtasks are drawn."""
    parts, width, top = list[str](), 0, 0
    for number, records in enumerate(rounds):
        if len(rounds) > 1:
            parts.append(_text(GAP, top + 28, f"Round {number + 1}", 13, PALE))
        layout = _Layout(records, top + (24 if len(rounds) > 1 else 0))
        # Arrows first: they lie behind the boxes.
        parts += [layout.arrow(edge) for edge in layout.edges]
        parts += [_box(record, *layout.corner(record.index), texts) for record in records]
        width, top = max(width, layout.width), layout.bottom
    size = f'width="{width}" height="{top}" viewBox="0 0 {width} {top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    arrow = f'<path d="M0,0 L8,4 L0,8 z" fill="{PALE}"/>'
    marker = f'<marker id="a" markerWidth="8" markerHeight="8" refX="8" refY="4" orient="auto">{arrow}</marker>'
    ground = f'<path d="M0,0 h{width} v{top} h-{width} z" fill="#ffffff"/>'
    return "".join([head, "<defs>", marker, "</defs>", ground, *parts, "</svg>"])


class _Layout:
    """Where the steps of a round are, in layers below `top`; an arrow that passes a layer has a lane between its steps,
    so that it crosses no box."""

    def __init__(self, records: Sequence[StepRecord], top: int) -> None:
        self._top = top
        self._layers: list[int] = []
        for record in records:
            self._layers.append(1 + max((self._layers[seen] for seen in record.sees), default=-1))
        self.edges = [(seen, record.index) for record in records for seen in _edges(records, record)]
        self._centres: dict[tuple[int, int | Edge], int] = {}
        self.width = 0
        for layer in range(1 + max(self._layers)):
            x = GAP
            passing = [(edge, LANE) for edge in self.edges if layer in self._between(edge)]
            for slot, wide in [*self._steps(layer), *passing]:
                self._centres[layer, slot] = x + wide // 2
                x += wide + GAP
            self.width = max(self.width, x)
        self.bottom = self._y(1 + max(self._layers))

    def _steps(self, layer: int) -> list[tuple[int | Edge, int]]:
        return [(index, WIDTH) for index, its in enumerate(self._layers) if its == layer]

    def _between(self, edge: Edge) -> range:
        return range(self._layers[edge[0]] + 1, self._layers[edge[1]])

    def _y(self, layer: int) -> int:
        return self._top + GAP + layer * (HEIGHT + GAP)

    def corner(self, index: int) -> tuple[int, int]:
        """The upper left corner of a step's box."""
        layer = self._layers[index]
        return self._centres[layer, index] - WIDTH // 2, self._y(layer)

    def arrow(self, edge: Edge) -> str:
        """A line from below the upper box to above the lower one."""
        (x1, y1), (x2, y2) = self.corner(edge[0]), self.corner(edge[1])
        points = [(x1 + WIDTH // 2, y1 + HEIGHT)]
        for layer in self._between(edge):
            x, y = self._centres[layer, edge], self._y(layer)
            points += [(x, y), (x, y + HEIGHT)]
        points += [(x2 + WIDTH // 2, y2 - TIP), (x2 + WIDTH // 2, y2)]
        path = " ".join(f"{x},{y}" for x, y in points)
        return f'<polyline points="{path}" fill="none" stroke="{PALE}" marker-end="url(#a)"/>'


def _edges(records: Sequence[StepRecord], record: StepRecord) -> list[int]:
    """The steps that a step sees, without those that it also sees through another one."""
    through = {further for seen in record.sees for further in records[seen].sees}
    return [seen for seen in record.sees if seen not in through]


def _box(record: StepRecord, x: int, y: int, texts: bool) -> str:
    colour = COLOURS.get(record.state, "#ffffff")
    rect = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{colour}" stroke="{PALE}"/>'
    spent = f"{record.seconds:.2f} s, {record.cost_usd:.6f} USD"
    lines = [_text(x + 10, y + 22, f"{record.number}. {record.worker}", 14, INK)]
    lines += [_text(x + 10, y + 43, _short(record), 11, PALE)] if texts else []
    lines.append(_text(x + 10, y + 64, spent if record.state == "done" else f"{record.state}: {spent}", 11, INK))
    return rect + "".join(lines)


def _text(x: int, y: int, words: str, size: int, colour: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(words)}</text>'


def _short(record: StepRecord) -> str:
    words = " ".join(record.subtask.split())
    return words if len(words) <= TEXT else words[: TEXT - 1] + "…"
