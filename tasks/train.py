"""Tasks for the warm start. Computation runs in a thread, so that the flow's heartbeat continues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prefect.cache_policies import NO_CACHE

from models.fugu.learn.adapt import Adapted, Examples, adapt
from models.fugu.learn.tasks import TaskHead, fit_tasks
from models.fugu.learn.warm_start import FEW, Head, HeadOptions, fit_head
from models.fugu.router import Router
from tasks.pages.report import Progress
from tasks.quiet import task
from tasks.setup.preset import BackbonePlan
from tasks.setup.router import backbone_path


@task(task_run_name="prepare backbone {name}", cache_policy=NO_CACHE, cache_result_in_memory=False)
async def prepare_backbone(name: str, plan: BackbonePlan) -> str:
    """The backbone's path; the house backbone is pretrained now if it is missing."""
    progress, loop = await Progress.start("backbone", 100), asyncio.get_running_loop()

    def report(fraction: float) -> None:
        asyncio.run_coroutine_threadsafe(progress.add(int(100 * fraction) - progress.done), loop)

    path = await asyncio.to_thread(backbone_path, name, plan, report)
    await progress.add(100 - progress.done)
    return path


@task(task_run_name="read hidden states", cache_policy=NO_CACHE, cache_result_in_memory=False)
async def read_states(router: Router, texts: Sequence[str]) -> NDArray[np.float32]:
    """The backbone's unadapted states of the transcripts, [Q, d]."""
    return await asyncio.to_thread(router.backbone.features, texts)


@task(task_run_name="fit head", cache_policy=NO_CACHE, cache_result_in_memory=False)
async def fit_worker_rows(features: NDArray[np.float32], labels: NDArray[np.float64], tasks: Sequence[str]) -> Head:
    """Fit the worker rows [L, d]; temperature, shrinkage and penalty are chosen by cross-validation where there are
    questions for it."""
    options = HeadOptions() if len(labels) >= HeadOptions.folds else FEW
    return await asyncio.to_thread(fit_head, features, labels, tasks, options)


@task(task_run_name="fit head of tasks", cache_policy=NO_CACHE, cache_result_in_memory=False)
async def fit_tasks_of(features: NDArray[np.float32], labels: NDArray[np.float64], tasks: Sequence[str]) -> TaskHead:
    """Fit a head of tasks; its caution, reach and penalty are chosen on the same questions, by cross-validation."""
    return await asyncio.to_thread(fit_tasks, features, labels, tasks)


@task(task_run_name="train offsets", cache_policy=NO_CACHE, cache_result_in_memory=False)
async def train_offsets(
    router: Router,
    head: Head,
    train: tuple[Sequence[str], NDArray[np.float64], Sequence[str]],
    valid: tuple[Sequence[str], NDArray[np.float64], Sequence[str]],
) -> Adapted:
    """Train head and SVF offsets together by forward KL; each part is (texts, labels [Q, L], tasks)."""

    def examples(texts: Sequence[str], labels: NDArray[np.float64], tasks: Sequence[str]) -> Examples:
        return Examples(texts, head.chosen.targets(labels, np.array(tasks)), labels)

    start = np.zeros(router.layout.offsets, np.float32)
    return await asyncio.to_thread(adapt, router.hidden, head.weights, start, examples(*train), examples(*valid))
