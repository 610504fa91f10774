"""Agree on a spending limit before a command starts anything that costs money."""

from __future__ import annotations

import sys

import typer

from models.errors import PermanentError


def agreed_limit(pool: str, what: str, worst_usd: float, *, yes: bool, max_usd: float | None) -> float:
    """The USD that may be spent: `max_usd` if given, else the highest possible cost once the user agrees to it.

    Raises PermanentError if the user declines, or if there is no terminal to ask at.
    """
    if max_usd is not None:
        return max_usd
    if worst_usd <= 0 or yes:
        return worst_usd
    question = f"{what} on pool {pool!r} costs at most ${worst_usd:,.2f}"
    if not sys.stdin.isatty():
        raise PermanentError(f"{question}: agree with --yes, or set a limit with --max-usd")
    if not typer.confirm(f"{question}. Continue?"):
        raise PermanentError("nothing was spent")
    return worst_usd
