"""The files for containers and clusters: valid where their checkers are installed (the extra `containers`), of one mind
with the code, closed to other machines, and no command in them is made up."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.places.templates import IMAGES, INSIDE
from tasks.setup.settings import PROJECT, Settings

CONTAINERS, KUBERNETES = PROJECT / "deployments" / "containers", PROJECT / "deployments" / "kubernetes"
COMPOSE = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
RESOURCES = [each for path in sorted(KUBERNETES.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
OURS = ("fugu", "python", "prefect")
OTHERS = {"DO_NOT_TRACK", "HOME", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}
"""Variables that are neither fugu's settings nor Prefect's."""


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for each in RESOURCES:
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers() -> Iterator[dict[str, Any]]:
    for _, pod in pods():
        yield from (*pod["containers"], *pod.get("initContainers", ()))


def commands() -> list[list[str]]:
    """Each command of ours, from every file."""
    found = [each["command"] for each in SERVICES.values() if each.get("command")]
    found += [each["args"] for each in containers() if "args" in each]
    places = yaml.safe_load((PROJECT / "deployments" / "places" / "kubernetes.yaml").read_text())
    jobs = [places[pool]["job_manifest"]["spec"]["template"]["spec"]["containers"][0] for pool in ("cpu", "gpu")]
    found += [each["args"] for each in jobs]
    docker = (CONTAINERS / "Dockerfile").read_text()
    found += [json.loads(words) for words in re.findall(r"^CMD (.+)$", docker, re.MULTILINE)]
    found += [
        each.split() for each in re.findall(r"-- (fugu [a-z ]+) NAME", (KUBERNETES / "endpoint.yaml").read_text())
    ]
    return [words for words in found if words[0] in OURS]


def options() -> dict[tuple[str, ...], set[str]]:
    """The options that each command is given anywhere, by the command up to its first one."""
    found: dict[tuple[str, ...], set[str]] = {}
    for words in commands():
        at = next((i for i, word in enumerate(words) if word.startswith("-") and word != "-m"), len(words))
        given = {word for word in words if word.startswith("--")}
        found[tuple(words[:at])] = found.get(tuple(words[:at]), set()) | given
    return {command: given for command, given in found.items() if "prefect.engine" not in command}


@pytest.mark.programs
@pytest.mark.parametrize("command", options(), ids=" ".join)
def test_a_command_exists_and_has_the_options_that_it_is_given(command: tuple[str, ...], tmp_path: Path) -> None:
    first = {
        "fugu": [sys.executable, "-c", "from deployments.cli import main; main()"],
        "prefect": [sys.executable, "-m", "prefect"],
        "python": [sys.executable],
    }
    words = [*first[command[0]], *command[1:], "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=quiet(tmp_path))
    assert done.returncode == 0, done.stderr
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert [option for option in options()[command] if option not in plain] == []


def quiet(folder: Path) -> dict[str, str]:
    mine = {"COLUMNS": "250", "NO_COLOR": "1", "PREFECT_HOME": str(folder), "FUGU_HOME": str(folder / "home")}
    return {**{name: value for name, value in os.environ.items() if name[:5] != "FUGU_"}, **mine}


def test_flow_runs_are_started_by_a_module_that_prefect_has() -> None:
    assert ["python", "-m", "prefect.engine"] in commands() and importlib.util.find_spec("prefect.engine")
    docker = yaml.safe_load((PROJECT / "deployments" / "places" / "docker.yaml").read_text())
    assert {docker[pool]["command"] for pool in ("cpu", "gpu")} == {"python -m prefect.engine"}


def test_compose_s_file_is_one() -> None:
    spec = pytest.importorskip("compose_spec")
    found = spec.PyCompose.from_yaml(yaml.safe_dump(COMPOSE))  # with merge keys resolved, which it does not take
    assert set(found.service_names()) == set(SERVICES)
    found.validate()


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: f"{each['kind']}/{each['metadata']['name']}")
def test_a_resource_of_kubernetes_is_one(resource: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(resource, validate.latest_version(), strict=True)


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra containers)")
    done = subprocess.run([hadolint, CONTAINERS / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_is_published_off_loopback() -> None:
    published = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert len(published) == 2 and all(str(port).startswith("127.0.0.1:") for port in published)
    assert {each["spec"].get("type", "ClusterIP") for each in RESOURCES if each["kind"] == "Service"} == {"ClusterIP"}
    assert not any(pod.get("hostNetwork") for _, pod in pods())
    assert not any("hostPort" in port for each in containers() for port in each.get("ports", ()))


def test_no_secret_has_a_value() -> None:
    example = (CONTAINERS / "env.example").read_text()
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "PREFECT_AUTH"):
        assert f"\n{name}=\n" in example
        references = re.findall(rf"\$\{{{name}[^}}]*\}}", (CONTAINERS / "compose.yaml").read_text())
        assert references and all(":?" in each for each in references)  # compose refuses to start without
    secrets = [each["stringData"] for each in RESOURCES if each["kind"] == "Secret"]
    assert len(secrets) == 2 and not any(value for each in secrets for value in each.values())


def test_every_variable_is_a_setting_of_fugu_s_or_of_prefect_s() -> None:
    from prefect.settings import Settings as PrefectSettings
    from prefect.settings.legacy import _get_settings_fields

    fields = _get_settings_fields(PrefectSettings)
    known = {f"FUGU_{name.upper()}" for name in Settings.model_fields} | OTHERS | set(fields)
    known |= {str(choice).upper() for setting in fields.values() for choice in _aliases(setting)}
    used = {
        name for each in SERVICES.values() for name in each.get("environment", {}) if name[:5] in ("FUGU_", "PREFE")
    }
    used |= {entry["name"] for each in containers() for entry in each.get("env", ()) if "fugu" in each["image"]}
    used |= {name for each in RESOURCES if each["kind"] == "ConfigMap" for name in each["data"] if name.isupper()}
    integrations = {name for name in used if name.startswith(("PREFECT_REDIS_", "PREFECT_INTEGRATIONS_KUBERNETES_"))}
    assert used - known - integrations == set() and len(used) > 20
    for name in integrations:
        package = "prefect_redis.client" if "REDIS" in name else "prefect_kubernetes.settings"
        if importlib.util.find_spec(package.partition(".")[0]) is not None:
            assert name in _names(importlib.import_module(package)), name


def _aliases(setting: Any) -> list[str]:
    info = setting.field_info if hasattr(setting, "field_info") else None
    choices = getattr(getattr(info, "validation_alias", None), "choices", ())
    return [choice for choice in choices if isinstance(choice, str)]


def _names(module: Any) -> set[str]:
    """The variables of a module's classes of settings."""
    found = set()
    for each in vars(module).values():
        prefix = getattr(each, "model_config", {}).get("env_prefix", "") if isinstance(each, type) else ""
        found |= {f"{prefix}{name}".upper() for name in getattr(each, "model_fields", {})} if prefix else set()
    return found


def test_what_goes_through_redis_is_what_prefect_asks_of_a_server_of_several_processes() -> None:
    pytest.importorskip("prefect_redis")
    server = SERVICES["prefect"]["environment"]
    config = next(each["data"] for each in RESOURCES if each["metadata"]["name"] == "prefect-settings")
    wanted = {"BROKER": "Publisher", "CACHE": "Cache", "ORDERING": "CausalOrdering"}
    wanted |= {"LEASE_STORAGE": "ConcurrencyLeaseStorage", "QUEUE_STORAGE": "WorkerCleanupQueue"}
    for end, name in wanted.items():
        (variable,) = [each for each in server if each.endswith(end)]
        assert config[variable] == server[variable]
        assert hasattr(importlib.import_module(server[variable]), name), variable
    assert server["PREFECT_SERVER_DOCKET_URL"].startswith("redis://")
    assert SERVICES["prefect-services"]["environment"].items() >= server.items()


def test_images_volumes_and_references_are_those_of_the_templates() -> None:
    assert {each["image"] for each in SERVICES.values() if "fugu" in each["image"]} == set(IMAGES.values())
    assert {each["image"] for each in containers() if "fugu" in each["image"]} == {IMAGES["cpu"]}
    assert COMPOSE["volumes"]["home"]["name"] == "fugu-home" and COMPOSE["networks"]["fugu"]["name"] == "fugu"
    claims = {each["metadata"]["name"] for each in RESOURCES if each["kind"] == "PersistentVolumeClaim"}
    named = [
        volume["persistentVolumeClaim"]["claimName"]
        for _, pod in pods()
        for volume in pod.get("volumes", ())
        if "persistentVolumeClaim" in volume
    ]
    assert set(named) == claims == {"fugu-home"}
    docker = (CONTAINERS / "Dockerfile").read_text()
    assert all(f"{name}={value}" in docker for name, value in INSIDE.items())
    keys = {
        each["metadata"]["name"]: set(each.get("stringData", each.get("data", ())))
        for each in RESOURCES
        if each["kind"] in ("Secret", "ConfigMap")
    }
    for each in containers():
        for entry in each.get("env", ()):
            if (reference := entry.get("valueFrom", {}).get("secretKeyRef")) is not None:
                assert reference["key"] in keys[reference["name"]]
        for source in each.get("envFrom", ()):
            assert next(iter(source.values()))["name"] in keys


def test_every_service_says_whether_it_is_well() -> None:
    ends = {"provision", "prefect-services"}  # a job, and a process without a port
    assert {name for name, each in SERVICES.items() if "healthcheck" not in each} == ends
    unprobed = {name for name, pod in pods() if not {"livenessProbe", "readinessProbe"} & set(pod["containers"][0])}
    assert unprobed == ends
    endpoint = next(pod["containers"][0] for name, pod in pods() if name == "endpoint")
    assert endpoint["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert endpoint["readinessProbe"]["httpGet"]["path"] == "/readyz"
