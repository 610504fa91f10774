"""Where flow runs run: each job template is what Prefect's worker of its type makes a job of, and holds no secret."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest

from deployments.places.templates import IMAGES, TYPES, Place, variables_of
from models.errors import BadInput
from models.workers.pool import Pool
from models.workers.worker import Worker
from tasks.setup.settings import settings

WORKERS = Pool(
    name="p",
    workers=(
        Worker(name="a", model="openai/a", key_env=("A_KEY", "B_KEY"), headers={"X-Team": "${TEAM}"}),
        Worker(name="b", model="openai/b", key_env="A_KEY"),
    ),
)
SECRET = "a-password"


@pytest.fixture(autouse=True)
def environment(cli_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUGU_LEDGER_URL", f"postgresql+psycopg://fugu:{SECRET}@db/fugu")
    monkeypatch.setenv("A_KEY", SECRET)
    monkeypatch.delenv("B_KEY", raising=False)


def job(kind: str, pool: str) -> Any:
    """What Prefect's worker prepares for a flow run whose creator asks for another command and environment."""
    from prefect.client.schemas.objects import FlowRun
    from prefect.workers.base import BaseWorker

    from deployments import pool_worker

    if kind == "process":
        worker: Any = pool_worker.FixedWorker
    else:
        pytest.importorskip(f"prefect_{kind}")
        worker = pool_worker.replace(kind)
        assert BaseWorker.get_worker_class_from_type(kind) is worker
    template = Place(kind, cpu="registry/fugu:1").template(pool, settings(), WORKERS)
    theirs = {"command": "rm -rf /", "env": {"FUGU_POOL": "theirs"}, "image": "theirs", "namespace": "theirs"}
    made = asyncio.run(worker.job_configuration.from_template_and_values(template, theirs, client=MagicMock()))
    run = FlowRun(id=UUID(int=7), name="quick-fox", flow_id=UUID(int=8))
    made.prepare_for_flow_run(run)
    assert "theirs" not in made.model_dump_json() and "rm -rf" not in made.model_dump_json()
    return made


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_template_has_no_variable_and_a_container_s_no_secret(kind: str, pool: str) -> None:
    template = Place(kind).template(pool, settings(), WORKERS)
    assert template["variables"] == {"type": "object", "properties": {}, "additionalProperties": False}
    text = json.dumps(template)
    assert "{{" not in text and (kind == "process" or SECRET not in text)


def test_a_process_runs_this_python() -> None:
    made = job("process", "cpu")
    assert made.command.endswith("-m prefect.engine") and made.env["FUGU_POOL"] == "house"


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_container_is_what_docker_takes(pool: str) -> None:
    made = job("docker", pool)
    containers = pytest.importorskip("docker.models.containers")
    assert made.image == {"cpu": "registry/fugu:1", "gpu": IMAGES["gpu"]}[pool]
    assert made.command == "python -m prefect.engine" and made.networks == ["fugu"] and not made.privileged
    assert made.env["A_KEY"] == SECRET and SECRET in made.env["FUGU_LEDGER_URL"]  # its worker's own
    assert "B_KEY" not in made.env and "TEAM" not in made.env  # which the worker has not
    assert made.env["FUGU_HOME"] == "/var/lib/fugu" and made.volumes == ["fugu-home:/var/lib/fugu"]
    given = {"image": made.image, "version": "1.44", "mem_limit": made.mem_limit, **made.container_create_kwargs}
    host = containers._create_container_args(given)["host_config"]
    assert host["CapDrop"] == ["ALL"] and host["ShmSize"] == {"cpu": 1, "gpu": 8}[pool] << 30
    gpus = [(each["Count"], each["Capabilities"]) for each in host.get("DeviceRequests", [])]
    assert gpus == {"cpu": [], "gpu": [(1, [["gpu"]])]}[pool]


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_pod_is_what_kubernetes_takes(pool: str) -> None:
    manifest = job("kubernetes", pool).job_manifest
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["args"] == ["python", "-m", "prefect.engine"] and SECRET not in json.dumps(manifest)
    named = {each["name"]: each for each in container["env"]}
    assert len(named) == len(container["env"]) and named["FUGU_HOME"]["value"] == "/var/lib/fugu"
    order = list(named)
    assert order.index("POSTGRES_PASSWORD") < order.index("FUGU_LEDGER_URL")  # or the reference is not resolved
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
    limits, selector = container["resources"]["limits"], pod.get("nodeSelector", {})
    assert (limits.get("nvidia.com/gpu"), bool(selector)) == {"cpu": (None, False), "gpu": ("1", True)}[pool]
    validate = pytest.importorskip("kubernetes_validate")
    plain = copy.deepcopy(manifest)
    for name in ("parallelism", "completions"):  # Prefect wants them here, and Kubernetes does not know them
        assert plain["spec"]["template"]["spec"].pop(name) == 1
    validate.validate(plain, validate.latest_version(), strict=True)


def test_the_keys_of_the_workers_are_passed_by_name() -> None:
    assert variables_of(WORKERS) == ["A_KEY", "B_KEY", "TEAM"] and variables_of(None) == []


def test_another_type_is_refused() -> None:
    with pytest.raises(BadInput, match="there are process, docker, kubernetes"):
        Place("ecs").template("cpu", settings())  # type: ignore[arg-type]
