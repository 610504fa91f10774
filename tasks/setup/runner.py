"""Where a flow's tasks run: threads of its process, processes of Dask or Ray, or a running cluster of one of them.

FUGU_TASK_RUNNER says which. A cluster that is opened here belongs to the outer flow run, and its subflows use it, too.
It is for this user of this machine alone: it listens on loopback, where Dask asks for the cluster's certificate and Ray
for its token.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from models.errors import BadInput
from tasks.setup.settings import Settings, settings

if TYPE_CHECKING:
    from distributed import LocalCluster

THREADS = 64
"""Tasks at a time in one process: most of them wait for workers, or for a forward that they share."""

STORE_BYTES = 1 << 27
"""Memory of Ray's object store: only inputs and results of tasks are in it."""


class SettingsRunner(TaskRunner[PrefectFuture[Any]]):
    """Stands in a flow's options for the runner that the settings name when a run begins."""

    def duplicate(self) -> Any:
        """The runner of a flow run that begins now. Raises BadInput."""
        here = settings()
        return {"threads": _threads, "dask": _dask, "ray": _ray}[here.task_runner](here)

    def submit(self, *_: Any, **__: Any) -> Any:
        """Never called: Prefect submits to a duplicate."""
        raise NotImplementedError


async def submitted(task: Task[..., Any], *args: Any, **kwargs: Any) -> PrefectFuture[Any]:
    """Submit the task to the flow's runner: in a thread, since the first one starts a cluster."""
    future: PrefectFuture[Any] = await asyncio.to_thread(task.submit, *args, **kwargs)
    return future


async def result_of(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Submit the task, and wait for its result. Raises the task's error."""
    [state] = await ended([await submitted(task, *args, **kwargs)])
    return await state.aresult()


async def ended(futures: Sequence[PrefectFuture[Any]]) -> list[State[Any]]:
    """The states of submitted tasks once all have ended, without blocking the flow's event loop."""
    over, here = asyncio.Event(), asyncio.get_running_loop()
    left = len(futures)

    def end(_: Any) -> None:
        with suppress(RuntimeError):  # the flow's loop is closed
            here.call_soon_threadsafe(count)

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    for future in futures:
        future.add_done_callback(end)
    if futures:
        await over.wait()
    return await asyncio.to_thread(lambda: [_final(future) for future in futures])


def _final(future: PrefectFuture[Any]) -> State[Any]:
    future.wait()  # it has ended; its state is taken over from its process
    return future.state


def _threads(here: Settings) -> Any:
    return ThreadPoolTaskRunner(max_workers=here.task_runner_size or THREADS)


def _dask(here: Settings) -> Any:
    _require("dask", "prefect_dask")
    from prefect_dask import DaskTaskRunner

    outer = _outer()
    if isinstance(outer, DaskTaskRunner):
        return DaskTaskRunner(outer.client.scheduler.address, client_kwargs={"security": outer.client.security})
    if here.task_runner_address:
        from tasks.setup.elsewhere import AddressedDask

        return AddressedDask(here.task_runner_address, environment=here.environment())
    return DaskTaskRunner(cluster_class=dask_cluster, cluster_kwargs={"processes": _size(here)})


@contextmanager
def dask_cluster(processes: int) -> Iterator[LocalCluster]:
    """A Dask cluster of this many processes, whose ports speak TLS with whoever has its certificate, made in memory."""
    import dask
    from distributed import LocalCluster

    # Its HTTP servers cannot be left out, but they need not answer anything.
    options = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.multiprocessing-method": "spawn",
    }
    with (
        tempfile.TemporaryDirectory(prefix="fugu-dask-") as folder,
        dask.config.set(options),
        LocalCluster(
            n_workers=processes,
            threads_per_worker=THREADS,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=True,
            dashboard_address=None,
            worker_dashboard_address=None,
            memory_limit=None,
            local_directory=folder,
            silence_logs=logging.ERROR,
            preload=["tasks.orphan"],
        ) as cluster,
    ):
        yield cluster


def _ray(here: Settings) -> Any:
    _require("ray", "prefect_ray")
    if not here.task_runner_address:
        _close_rays_doors(here.home)
    from prefect_ray import RayTaskRunner

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if here.task_runner_address:
        return RayTaskRunner(here.task_runner_address, quiet | {"runtime_env": {"env_vars": here.environment()}})
    # A subflow finds Ray running in its process, and joins it.
    own = {"num_cpus": _size(here), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    return RayTaskRunner(init_kwargs=quiet | own)


def _close_rays_doors(home: Path) -> None:
    """Let Ray, which is imported after this, listen on loopback alone, ask for a token, and report nothing.

    `_node_ip_address` does not do it: Ray replaces 127.0.0.1 by an address that others reach, but on a machine where
    it is told that it cannot form a cluster.
    """
    token = home / "ray.token"
    if not token.is_file():
        with (
            suppress(FileExistsError),
            os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f,
        ):
            f.write(secrets.token_hex(32))
    os.environ |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _outer() -> Any:
    context = FlowRunContext.get()
    return None if context is None else context.task_runner


def _size(here: Settings) -> int:
    return here.task_runner_size or os.cpu_count() or 1


def _require(extra: str, module: str) -> None:
    """Raises BadInput where the extra is missing, or the processes would have no Prefect server in common."""
    if find_spec(module) is None:
        raise BadInput(
            f"FUGU_TASK_RUNNER={extra} needs the extra {extra!r}: pip install -c constraints.txt -e '.[{extra}]'",
            "FUGU_TASK_RUNNER",
        )
    if not PREFECT_API_URL.value():
        raise BadInput(
            f"FUGU_TASK_RUNNER={extra} needs a Prefect server: run `fugu up`, or set PREFECT_API_URL", "PREFECT_API_URL"
        )
