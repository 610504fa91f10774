"""Markdown for a terminal: tables with aligned columns."""

from __future__ import annotations

from itertools import groupby


def aligned(markdown: str) -> str:
    """The text with the cells of every table padded to the width of their column."""
    blocks = groupby(markdown.splitlines(), key=lambda line: line.startswith("|"))
    return "\n".join("\n".join(_table(list(lines)) if is_table else lines) for is_table, lines in blocks)


def _table(lines: list[str]) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
    return ["  ".join(_cell(cell, width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _cell(text: str, width: int) -> str:
    return "-" * width if text and set(text) <= set("-:") else text.ljust(width)
