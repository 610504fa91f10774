"""The job templates of the work pools `cpu` and `gpu`, for each type of work pool.

No template has a variable, so that a caller cannot change how a flow run is started; `deployments/pool_worker.py` sees
to it on the worker's side. What a template holds stands in Prefect's database. A container gets what it names without a
value from its worker: places and secrets. A pod gets them from Secrets.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from models.errors import BadInput
from models.files import read_yaml

if TYPE_CHECKING:
    from models.workers.pool import Pool
    from tasks.setup.settings import Settings

Type = Literal["process", "docker", "kubernetes"]
TYPES: tuple[Type, ...] = get_args(Type)

IMAGES = {"cpu": "fugu-flows:cpu", "gpu": "fugu-flows:cuda"}
"""The images that `deployments/containers/Dockerfile` makes, by work pool."""

ENGINE = ["-m", "prefect.engine"]

INSIDE = {"FUGU_HOME": "/var/lib/fugu", "FUGU_DATA": "/app/data"}
"""Where the images have them."""

FROM_WORKER = ("FUGU_LEDGER_URL", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
"""What a container gets from its worker, beside the keys of the pool's workers."""


@dataclass(frozen=True)
class Place:
    """A type of work pool. `cpu`, `gpu`: the images of the pools' runs, where they are containers."""

    type: Type = "process"
    cpu: str = IMAGES["cpu"]
    gpu: str = IMAGES["gpu"]

    def template(self, pool: str, here: Settings, workers: Pool | None = None) -> dict[str, Any]:
        """The base job template of a work pool. `workers`: whose keys the runs need. Raises BadInput for another type.

        A process starts this Python directly, which takes half the time of a prepared workspace. No working directory
        is given, so each run gets an empty one.
        """
        job: dict[str, Any]
        if self.type == "process":
            job = {"command": shlex.join([sys.executable, *ENGINE]), "env": here.environment(), "working_dir": None}
            job |= {"stream_output": True, "name": None, "labels": {}}
        elif self.type in TYPES:
            job = dict(read_yaml(Path(__file__).with_name(f"{self.type}.yaml")).value[pool])
            getattr(self, f"_{self.type}")(job, pool, here, workers)
        else:
            raise BadInput(f"no type of work pool {self.type!r}; there are {', '.join(TYPES)}", "type")
        return {
            "job_configuration": job,
            "variables": {"type": "object", "properties": {}, "additionalProperties": False},
        }

    def _docker(self, job: dict[str, Any], pool: str, here: Settings, workers: Pool | None) -> None:
        named = [*FROM_WORKER, *variables_of(workers)]
        job["image"] = getattr(self, pool)
        job["env"] = {**here.environment(), **INSIDE, **dict.fromkeys(named)}

    def _kubernetes(self, job: dict[str, Any], pool: str, here: Settings, workers: Pool | None) -> None:
        """The ledger's URL stands in the file, with its password by reference; the workers' keys are a Secret."""
        container = job["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
        container["image"] = getattr(self, pool)
        stated = {each["name"] for each in container["env"]}
        settings = here.environment() | INSIDE
        job["env"] = {name: value for name, value in settings.items() if name not in stated}


def variables_of(workers: Pool | None) -> list[str]:
    """The environment variables that a pool's workers and conductors need: their keys, and those in their headers."""
    from models.workers.fitting.stated import VARIABLE

    everyone = () if workers is None else (*workers.workers, *workers.conductors)
    found = [name for worker in everyone for name in worker.key_names]
    found += [name for worker in everyone for text in worker.headers.values() for name in VARIABLE.findall(text)]
    return list(dict.fromkeys(found))
