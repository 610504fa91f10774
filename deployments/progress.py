"""Progress of a flow run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from deployments.server import Run, Server
from models.errors import PermanentError, UpstreamUnavailable

PATIENCE = 20
"""Unanswered polls in a row before giving up."""
LINE_EVERY = 25
"""Percent of progress between two plain lines."""


class Display(AbstractContextManager["Display"]):
    """State and progress of a run and its subflows."""

    def __init__(self, console: Console, began: float) -> None:
        self._console, self._began = console, began
        self._last_lines: dict[str, str] = {}
        self._bars: dict[str, TaskID] = {}
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> Display:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, run: Run, percent: float | None) -> None:
        """Update the bar or line of one run."""
        if self._progress is None:
            self._line(run, percent)
        else:
            self._bar(self._progress, run, percent)

    def _line(self, run: Run, percent: float | None) -> None:
        step = "" if percent is None or run.final else f" {int(percent) // LINE_EVERY * LINE_EVERY} %"
        text = f"{run.name}: {run.state.lower()}{step}"
        if self._last_lines.get(run.id) != text:
            self._last_lines[run.id] = text
            say(self._console, self._began, text)

    def _bar(self, progress: Progress, run: Run, percent: float | None) -> None:
        if run.id not in self._bars:
            self._bars[run.id] = progress.add_task(run.name, total=None)
        bar = self._bars[run.id]
        if run.state == "COMPLETED":
            progress.update(bar, total=100, completed=100)
            progress.stop_task(bar)
        elif run.final:
            progress.update(bar, description=f"{run.name}: {run.state.lower()}")
            progress.stop_task(bar)
        elif percent is not None:
            progress.update(bar, total=100, completed=percent)


def say(console: Console, began: float, text: str) -> None:
    """One line, with the seconds since `began` (of the monotonic clock)."""
    line = f"{time.monotonic() - began:6.1f} s  {text}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def watch(server: Server, run: Run, console: Console, began: float, alive: Callable[[], None] = lambda: None) -> None:
    """Show a run and its subflows until it ends. `alive` raises if a process that the run needs has ended.

    Raises PermanentError with the run's own message if it did not complete.
    """
    patience = PATIENCE
    with Display(console, began) as display:
        while not run.final:
            time.sleep(0.5)
            alive()
            try:
                run = _show(server, run, display)
                patience = PATIENCE
            except UpstreamUnavailable:
                # Under load the server may answer late; the run itself continues.
                patience -= 1
                if not patience:
                    raise
    if run.state != "COMPLETED":
        raise PermanentError(f"{run.name} {run.state.lower()}: {run.message} ({server.url}/runs/flow-run/{run.id})")


def _show(server: Server, run: Run, display: Display) -> Run:
    run = server.run(run.id)
    children = server.children(run.id)
    # Until it starts, a run has a generated name.
    shown = [one for one in (run, *children) if one.state == "RUNNING" or one.final]
    percents = server.progress([one.id for one in shown])
    for one in shown:
        display.show(one, percents.get(one.id))
    return run
