"""Options that several commands share. An option overrides its `FUGU_…` variable."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def sets(variable: str) -> Callable[[Any], Any]:
    """An option's callback that sets the variable, for `tasks.setup.settings` here and in child processes."""

    def callback(value: Any) -> Any:
        if value is not None:
            os.environ[variable] = str(value)
        return value

    return callback


Home = Annotated[
    Path | None,
    typer.Option(callback=sets("FUGU_HOME"), help="Folder for all data that fugu writes.", show_default=".fugu"),
]
PoolName = Annotated[
    str | None,
    typer.Option("--pool", callback=sets("FUGU_POOL"), help="Name or file of a pool.", show_default="house"),
]
Questions = Annotated[
    str | None,
    typer.Option(
        callback=sets("FUGU_QUESTIONS"),
        help="`house`, a JSONL file, or `none`: nothing is measured.",
        show_default="house for the house pool, else none",
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        callback=sets("FUGU_PRESET"),
        help="Amount of measuring and learning: first-light, evidence, released.",
        show_default="first-light",
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(callback=sets("FUGU_BACKBONE"), help="`house`, a folder, or a hub's name.", show_default="house"),
]
MaxUsd = Annotated[float | None, typer.Option(min=0, help="Spending limit in USD.")]
Yes = Annotated[bool, typer.Option("--yes", help="Accept the highest possible cost without a question.")]
