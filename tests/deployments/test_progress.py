"""A watched run: lines without a terminal, bars on one, patience with a slow server, its message where it fails."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from deployments import progress
from deployments.progress import watch
from deployments.server import Run
from deployments.tables import aligned
from models.errors import PermanentError, UpstreamUnavailable


class Standin:
    """A server that tells one poll after the other: state of the run, state of its subflow, per cent."""

    url = "http://prefect"

    def __init__(self, *polls: tuple[str, str, float] | None) -> None:
        self._polls: Iterator[tuple[str, str, float] | None] = iter(polls)

    def run(self, run_id: str) -> Run:
        poll = next(self._polls)
        if poll is None:
            raise UpstreamUnavailable("late")
        self._now = poll
        return Run(run_id, "the story", poll[0], "out of paper")

    def children(self, run_id: str) -> list[Run]:
        return [Run("child", "labelling", self._now[1], "")]

    def progress(self, run_ids: list[str]) -> dict[str, float]:
        return {"child": self._now[2]}


POLLS = (
    ("PENDING", "PENDING", 0.0),
    ("RUNNING", "RUNNING", 10.0),
    ("RUNNING", "RUNNING", 20.0),
    None,
    ("RUNNING", "RUNNING", 60.0),
    ("COMPLETED", "COMPLETED", 100.0),
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: None)


def told(*polls: tuple[str, str, float] | None, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    watch(Standin(*polls), Run("1", "adjective-animal", "SCHEDULED", ""), console, time.monotonic())  # type: ignore[arg-type]
    return out.getvalue()


def test_without_a_terminal_each_step_is_one_line_told_once() -> None:
    lines = [line.split(" s  ")[1] for line in told(*POLLS).splitlines()]
    assert lines == [
        "the story: running",
        "labelling: running 0 %",
        "labelling: running 50 %",
        "the story: completed",
        "labelling: completed",
    ]


def test_on_a_terminal_there_are_bars() -> None:
    text = told(*POLLS, terminal=True)
    assert "labelling" in text and "━" in text


def test_a_run_that_fails_says_why_and_where() -> None:
    with pytest.raises(PermanentError, match=r"the story failed: out of paper \(http://prefect/runs/flow-run/1\)"):
        told(("RUNNING", "RUNNING", 0.0), ("FAILED", "FAILED", 0.0))


def test_a_server_that_stays_silent_ends_the_watching() -> None:
    with pytest.raises(UpstreamUnavailable):
        told(*[None] * progress.PATIENCE)


def test_a_table_stands_in_columns_and_other_lines_stay() -> None:
    text = "## T\n\n| | mean |\n|---|---|\n| best single | 0.5 |\n| a | 0.25 |\n\nend"
    assert aligned(text).splitlines() == [
        "## T",
        "",
        "             mean",
        "-----------  ----",
        "best single  0.5",
        "a            0.25",
        "",
        "end",
    ]
