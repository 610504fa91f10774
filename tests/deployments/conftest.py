"""The command line in this process, in a home of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from deployments.cli import main


@pytest.fixture
def cli_home(tmp_path: Path) -> Iterator[Path]:
    """A home of its own."""
    with mock.patch.dict(os.environ, {"FUGU_HOME": str(tmp_path / "home"), "COLUMNS": "200"}):
        yield tmp_path / "home"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`fugu` with these words: exit status, standard output, standard error."""

    def fugu(*words: str) -> tuple[int, str, str]:
        # Options write to the environment: the next test must not find what this command was given.
        told = mock.patch.object(sys, "argv", ["fugu", *words])
        with mock.patch.dict(os.environ), told, pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return fugu
