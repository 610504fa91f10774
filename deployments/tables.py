"""A markdown file as a terminal should show it: its tables in columns."""

from __future__ import annotations

from itertools import groupby


def aligned(markdown: str) -> str:
    """The text with every table's cells padded to their column's width."""
    blocks = groupby(markdown.splitlines(), key=lambda line: line.startswith("|"))
    return "\n".join("\n".join(_table(list(lines)) if is_table else lines) for is_table, lines in blocks)


def _table(lines: list[str]) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
    return ["  ".join(_cell(cell, width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _cell(text: str, width: int) -> str:
    return "-" * width if text and set(text) <= set("-:") else text.ljust(width)
