"""What may be spent: the caller's limit, or the worst case once agreed to, or nothing at all."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from unittest import mock

import pytest
import typer
from rich.console import Console

from deployments.money import agreed_limit
from deployments.up import Options, bring_up
from models.errors import PermanentError
from tasks.setup.settings import settings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_limit_that_is_given_is_the_limit() -> None:
    assert agreed_limit("p", "it", 9.0, yes=False, max_usd=2.0) == 2.0
    assert agreed_limit("p", "it", 9.0, yes=True, max_usd=0.0) == 0.0


def test_yes_agrees_to_the_worst_case() -> None:
    assert agreed_limit("p", "it", 9.0, yes=True, max_usd=None) == 9.0


def test_nobody_is_asked_where_it_costs_nothing() -> None:
    assert agreed_limit("p", "it", 0.0, yes=False, max_usd=None) == 0.0


@pytest.mark.parametrize("agrees", [True, False])
def test_at_a_terminal_the_price_is_named_before_it_is_paid(monkeypatch: pytest.MonkeyPatch, agrees: bool) -> None:
    asked = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(typer, "confirm", lambda text: asked.append(text) or agrees)
    if agrees:
        assert agreed_limit("p", "learning", 1234.5, yes=False, max_usd=None) == 1234.5
    else:
        with pytest.raises(PermanentError, match="nothing was spent"):
            agreed_limit("p", "learning", 1234.5, yes=False, max_usd=None)
    assert "learning on pool 'p' costs at most $1,234.50" in asked[0]


@pytest.mark.parametrize(("words", "asked"), [([], False), (["--yes"], True)])
def test_a_priced_pool_is_asked_no_question_unbidden(tmp_path: Path, words: list[str], asked: bool) -> None:
    (tmp_path / "priced.yaml").write_text(
        "workers:\n- {name: dear, model: openai/dear, price: {output_per_million: 30}}\n"
    )
    here = {
        "FUGU_HOME": str(tmp_path / "home"),
        "FUGU_POOL": str(tmp_path / "priced.yaml"),
        "FUGU_QUESTIONS": "house",
        "FUGU_PORT": "0",
        "FUGU_PREFECT_PORT": "0",
    }
    seen: list[bool] = []
    with (
        mock.patch.dict(os.environ, here),
        mock.patch("deployments.up._agree", lambda options, here, console: None),  # a second start: nothing is missing
        mock.patch("deployments.up.Start.run", lambda start, services, max_usd: seen.append(start.may_ask)),
    ):
        assert bring_up(Options(once=True, yes=bool(words)), settings(), Console(file=io.StringIO())) == 0
    assert seen == [asked]
