"""`prefect.yaml` says what the flows can do: each entrypoint exists, each parameter is one of its flow's."""

from __future__ import annotations

import ast
import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import flows
from deployments.provision import FORMER, POOLS, PREFECT_FILE, _form, _set_by_hand, digest, job_template
from tasks.setup.settings import settings

FILE = yaml.safe_load(PREFECT_FILE.read_text())
DEPLOYMENTS = FILE["deployments"]


def _flow(entrypoint: str) -> ast.AsyncFunctionDef:
    """The flow's source, unimported: importing them all takes seconds."""
    name = entrypoint.split(":")[1]
    tree = ast.parse((Path(flows.__path__[0]) / f"{name}.py").read_text())
    return next(node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["entrypoint"])
def test_a_deployment_names_a_flow_and_its_parameters(deployment: dict) -> None:
    known = {argument.arg for argument in _flow(deployment["entrypoint"]).args.args}
    assert set(deployment.get("parameters", {})) <= known
    assert deployment["work_pool"]["name"] in POOLS


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_every_parameter_is_described(deployment: dict) -> None:
    found = _flow(deployment["entrypoint"]).args
    assert len(found.defaults) == len(found.args)
    for argument, default in zip(found.args, found.defaults, strict=True):
        words = {word.arg for word in default.keywords} if isinstance(default, ast.Call) else set()
        assert "description" in words, argument.arg


def test_names_tell_deployments_apart_and_the_readme_knows_them() -> None:
    names = [deployment["name"] for deployment in DEPLOYMENTS]
    assert len(set(names)) == len(names)
    readme = (PREFECT_FILE.parent.parent / "README.md").read_text()
    assert [name for name in names if f"/{name}`" not in readme] == []
    assert not set(FORMER.values()) & set(names) and set(FORMER) <= {d["entrypoint"] for d in DEPLOYMENTS}


def test_a_form_calls_optional_only_what_can_be_left_empty() -> None:
    values = {"pool": "house", "name": "", "most": None, "promote": False}
    fields = {name: {"default": value} for name, value in values.items()} | {"questions": {}}
    made = SimpleNamespace(parameter_openapi_schema={"properties": fields, "required": ["questions"]})
    form, defaults = _form(made)
    assert form["required"] == ["pool", "promote", "questions"] and defaults == {"pool": "house", "promote": False}
    earlier = SimpleNamespace(**vars(made), parameters={"pool": "house", "most": 3, "promote": True, "gone": 1})
    assert _set_by_hand(earlier, form) == {"most": 3, "promote": True}
    assert _set_by_hand(None, form) == {}


def test_every_public_flow_has_a_deployment() -> None:
    files = {path.stem for path in Path(flows.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == {d["entrypoint"].split(":")[1] for d in DEPLOYMENTS}
    modules = {d["entrypoint"].split(":")[0] for d in DEPLOYMENTS}
    assert all(module.startswith("flows.") or module == "deployments.agentic" for module in modules)


def test_no_run_downloads_code_and_every_run_has_the_settings_and_nothing_else_to_set() -> None:
    assert FILE["pull"] == []
    assert all(set(deployment["work_pool"]) == {"name"} for deployment in DEPLOYMENTS)
    template = job_template(settings())
    job, variables = template["job_configuration"], template["variables"]
    assert job["env"] == settings().environment()
    assert shlex.split(job["command"]) == [sys.executable, "-m", "prefect.engine"]
    assert variables == {"type": "object", "properties": {}, "additionalProperties": False}
    assert "{{" not in json.dumps(template)


def test_the_digest_follows_what_a_deployment_is_made_of(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text("a")
    before = digest({"FUGU_POOL": "house", "HOME": "x"}, file)
    assert before == digest({"FUGU_POOL": "house", "HOME": "y"}, file)
    assert before != digest({"FUGU_POOL": "mine"}, file)
    file.write_text("b")
    assert before != digest({"FUGU_POOL": "house"}, file)
