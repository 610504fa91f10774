"""Which runner the settings name, what is refused in one line, and that a task's inputs are its parameters."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.refresh_labels import refresh_labels
from models.errors import BadFile, BadInput, Pruned, UpstreamRefused
from tasks.quiet import Live
from tasks.setup import runner
from tasks.setup.runner import THREADS, SettingsRunner
from tasks.setup.settings import PROJECT, settings


@pytest.fixture
def use(monkeypatch):
    def use(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"FUGU_{name}", value)

    return use


def test_threads_are_bounded_and_their_number_is_a_setting(use):
    found = SettingsRunner().duplicate()
    assert isinstance(found, ThreadPoolTaskRunner) and found._max_workers == THREADS
    use(TASK_RUNNER_SIZE="3")
    assert SettingsRunner().duplicate()._max_workers == 3


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TASK_RUNNER": "celery"}, "FUGU_TASK_RUNNER: Input should be 'threads', 'dask' or 'ray'"),
        ({"TASK_RUNNER_SIZE": "-1"}, "FUGU_TASK_RUNNER_SIZE: "),
        ({"TASK_RUNNER_ADDRESS": "tls://127.0.0.1:8786"}, "FUGU_TASK_RUNNER_ADDRESS: .*threads have no address"),
        ({"TASK_RUNNER": "dask", "TASK_RUNNER_ADDRESS": "somewhere"}, "FUGU_TASK_RUNNER_ADDRESS: .*tls://HOST:PORT"),
        ({"TASK_RUNNER": "dask", "TASK_RUNNER_ADDRESS": "tls://h:8786/x"}, "is no address of dask"),
        ({"TASK_RUNNER": "ray", "TASK_RUNNER_ADDRESS": "tls://h:8786"}, "is no address of ray"),
        ({"TASK_RUNNER": "dask", "TASK_RUNNER_ADDRESS": "tls://far:8786"}, "cannot write a SQLite ledger"),
        ({"TASK_RUNNER": "ray", "TASK_RUNNER_ADDRESS": "10.0.0.9:6379"}, "cannot write a SQLite ledger"),
    ],
)
def test_what_cannot_work_is_one_line_that_names_the_variable(use, variables, message):
    use(**variables)
    with pytest.raises(BadInput, match=message) as refused:
        settings()
    assert "\n" not in str(refused.value)


def test_several_hosts_write_postgresql(use):
    use(TASK_RUNNER="ray", TASK_RUNNER_ADDRESS="ray://far:10001", LEDGER_URL="postgresql://far/fugu")
    assert settings().environment()["FUGU_TASK_RUNNER_ADDRESS"] == "ray://far:10001"


@pytest.mark.parametrize("extra", ["dask", "ray"])
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(use, monkeypatch, extra):
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    use(TASK_RUNNER=extra)
    with pytest.raises(BadInput, match=rf"pip install .*\[{extra}\]") as refused:
        SettingsRunner().duplicate()
    assert "\n" not in str(refused.value)


def test_processes_without_a_server_in_common_are_refused(use, monkeypatch):
    monkeypatch.setattr(runner, "find_spec", lambda name: name)
    use(TASK_RUNNER="dask")
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(BadInput, match="fugu up"):
        SettingsRunner().duplicate()


def test_of_a_flow_only_its_name_travels_and_of_a_live_object_nothing():
    assert pickle.loads(pickle.dumps(refresh_labels)).name == "refresh-labels"
    assert Live([1]).value == [1]
    with pytest.raises(LookupError, match="left in the flow's process"):
        pickle.loads(pickle.dumps(Live(lambda: None))).value  # noqa: B018


@pytest.mark.parametrize("error", [BadFile("f", "m", 3), UpstreamRefused("m", 413), BadInput("m", "f")])
def test_errors_travel_with_their_fields(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)
    assert issubclass(Pruned, type(pickle.loads(pickle.dumps(Pruned.__new__(Pruned)))))


def _context_variables(tree):
    """Names of a module's context variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            called = node.value.func
            if getattr(called, "id", getattr(called, "attr", "")) == "ContextVar":
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def _task_bodies(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef):
            called = [each.func for each in node.decorator_list if isinstance(each, ast.Call)]
            if any(getattr(each, "id", "") == "task" for each in called):
                yield node


OTHERS = {"tasks/step.py"}
"""Steps join the endpoint's runner."""


def test_no_task_reads_a_context_variable_for_its_input():
    files = [path for part in ("tasks", "flows") for path in Path(PROJECT / part).rglob("*.py")]
    trees = {str(path.relative_to(PROJECT)): ast.parse(path.read_text()) for path in files}
    variables = {name for tree in trees.values() for name in _context_variables(tree)}
    bodies = [(file, body) for file, tree in trees.items() if file not in OTHERS for body in _task_bodies(tree)]
    assert "_SESSION" in variables and len(bodies) > 10
    for file, body in bodies:
        names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
        assert not names & (variables | {"current"}), f"{file}: {body.name}"
