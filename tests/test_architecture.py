"""The tree shows the architecture: imports run downward and in no circle, rooms, files and functions stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tasks.setup.settings import PROJECT

FILES = [path for part in ("models", "tasks", "flows", "deployments") for path in (PROJECT / part).rglob("*.py")]
ABSENT = re.compile(r"\b(?:DESIGN|REFERENCE|PEERS|STYLE)\b|\bPREFECT\.md\b|\b[Ss]eed 0\d\d\b")
"""Documents that this project was planned with, and that are not in it."""


def test_imports_run_downward():
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_file_is_at_most_300_lines_and_a_function_60():
    long = [str(path.relative_to(PROJECT)) for path in FILES if path.read_text().count("\n") > 300]
    for module, tree in trees().items():
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        long += [f"{module}.{node.name}" for node in functions if (node.end_lineno or 0) - node.lineno >= 60]
    assert long == []


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


@cache
def trees() -> dict[str, ast.Module]:
    return {module_of(path): ast.parse(path.read_text()) for path in FILES}


def imports(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Of this project's modules, wherever in the file they are imported: a late import is an arrow, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in known or node.module in known:
                    yield whole if whole in known else node.module


def test_no_module_is_imported_by_what_it_imports():
    parsed = trees()
    arrows = {name: set(imports(tree, set(parsed))) - {name} for name, tree in parsed.items()}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_room_holds_more_than_twenty_files():
    counts = {folder: len(list(folder.glob("*.py"))) for folder in {path.parent for path in FILES}}
    assert {str(folder.relative_to(PROJECT)): count for folder, count in counts.items() if count > 20} == {}


def test_nothing_refers_to_a_document_that_is_not_here():
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    texts = [
        PROJECT / name for name in listed.splitlines() if name.endswith((".py", ".md", ".yaml", ".toml", "Makefile"))
    ]
    found = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in texts
        if path.is_file() and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ABSENT.search(line)
    ]
    assert found == []
