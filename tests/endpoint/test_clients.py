"""Real clients as they come, those that the tests' environment holds; `tests/clients/run` tries all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tasks.setup.settings import PROJECT

HERE = PROJECT / "tests" / "clients"
SCRIPTS = (
    "chat/chat_langchain",
    "chat/chat_litellm",
    "chat/chat_smolagents",
    "chat/openai_python",
    "messages/anthropic_python",
    "messages/langchain_chat",
    "responses/langchain_responses",
    "responses/openai_agents",
    "responses/openai_python",
)


@pytest.fixture(scope="module")
def run() -> ModuleType:
    loader = SourceFileLoader("clients_run", str(HERE / "run"))
    spec = spec_from_loader("clients_run", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of a client's process: a started endpoint before a scripted worker that calls tools."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        from started import started

    with started(Path(tmp_path_factory.mktemp("clients"))) as environment:
        yield environment


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_client_as_it_comes_works(script: str, run: ModuleType, environment: dict[str, str]) -> None:
    path = HERE / f"{script}.py"
    row = run.told([sys.executable, str(path)], path, environment)
    assert row["ok"] and row["did"], row
