"""A workflow as a diagram: mermaid text, and SVG for pages without mermaid."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from models.conductor.run.request import StepRecord

WIDTH, HEIGHT, GAP, TEXT = 220, 56, 40, 30

COLOURS = {"done": "#e6f4ea", "failed": "#fce8e6", "awaiting-tools": "#fef7e0", "passed over": "#f1f3f4"}


def mermaid(records: Sequence[StepRecord]) -> str:
    """The graph as mermaid text, each step with its worker; the last one answers."""
    lines = ["graph TD"]
    for record in records:
        lines.append(f'    s{record.index}["{record.number}. {_plain(record.worker)}<br/>{_plain(_short(record))}"]')
    for record in records:
        lines += [f"    s{seen} --> s{record.index}" for seen in _edges(records, record)]
    return "\n".join([*lines, f"    s{len(records) - 1} --> answer([answer])"])


def svg(records: Sequence[StepRecord]) -> str:
    """The graph as SVG: steps in layers, each below all steps that it sees."""
    places = _places(records)
    width = (1 + max(x for x, _ in places)) * (WIDTH + GAP) + GAP
    height = (1 + max(y for _, y in places)) * (HEIGHT + GAP) + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    arrow = '<path d="M0,0 L8,4 L0,8 z" fill="#5f6368"/>'
    marker = f'<defs><marker id="a" markerWidth="8" markerHeight="8" refX="8" refY="4" orient="auto">{arrow}</marker>'
    lines = [_line(places[seen], places[r.index]) for r in records for seen in _edges(records, r)]
    return "".join([head, marker, "</defs>", *lines, *(_box(r, places[r.index]) for r in records), "</svg>"])


def _edges(records: Sequence[StepRecord], record: StepRecord) -> list[int]:
    """The steps that a step sees, without those that it also sees through another one."""
    through = {further for seen in record.sees for further in records[seen].sees}
    return [seen for seen in record.sees if seen not in through]


def _places(records: Sequence[StepRecord]) -> list[tuple[int, int]]:
    """Column and layer of each step."""
    layers: list[int] = []
    for record in records:
        layers.append(1 + max((layers[seen] for seen in record.sees), default=-1))
    return [(layers[:index].count(layer), layer) for index, layer in enumerate(layers)]


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return GAP + place[0] * (WIDTH + GAP), GAP + place[1] * (HEIGHT + GAP)


def _line(above: tuple[int, int], below: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = _corner(above), _corner(below)
    start, end = f'x1="{x1 + WIDTH // 2}" y1="{y1 + HEIGHT}"', f'x2="{x2 + WIDTH // 2}" y2="{y2}"'
    return f'<line {start} {end} stroke="#5f6368" marker-end="url(#a)"/>'


def _box(record: StepRecord, place: tuple[int, int]) -> str:
    x, y = _corner(place)
    colour = COLOURS.get(record.state, "#ffffff")
    rect = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{colour}" stroke="#5f6368"/>'
    who = f'<text x="{x + 10}" y="{y + 22}" font-size="14">{record.number}. {escape(record.worker)}</text>'
    what = f'<text x="{x + 10}" y="{y + 42}" font-size="11" fill="#5f6368">{escape(_short(record))}</text>'
    return rect + who + what


def _short(record: StepRecord) -> str:
    words = " ".join(record.subtask.split())
    return words if len(words) <= TEXT else words[: TEXT - 1] + "…"


def _plain(text: str) -> str:
    """Escaped, without characters that mermaid interprets."""
    return escape(text).replace("`", "'").replace("#", "")
