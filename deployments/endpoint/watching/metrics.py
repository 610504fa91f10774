"""Figures for Prometheus, of one process or, where `share` was called, of all that share a folder.

Labels are bounded: names of the pool's workers, of the served models, paths, statuses, and classes of errors.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of prometheus-client that names the folder where processes share their figures."""

PREFIX_OF_FOLDERS = "fugu-metrics-"
"""Begins the names of those that are made here, in the folder of temporary files."""

OTHER = "other"
"""The label of a name that nothing here has."""

PREFIX = "fugu_"

LABELS = 4096
"""Combinations of labels of one figure that are remembered."""

Figure = TypeVar("Figure", Counter, Histogram, Gauge)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


def share(name: str) -> Callable[[], None]:
    """Keep this process's figures in a folder, where another one with the same variable reads them, too.

    To be called before the first `Metrics`. `name`: of this process, unique among those that share; what an earlier
    process of that name counted goes on. What is returned removes the folder, if it was made here.

    Folders that were left behind by processes that were killed are removed first: each that shares one holds a lock on
    it, which ends with the process however that ends.
    """
    made, given = None, os.environ.get(FOLDER)
    if not given:
        _sweep()
        given = made = tempfile.mkdtemp(prefix=PREFIX_OF_FOLDERS)  # readable by the owner only
    held = _hold(given)
    while held is None and made is not None and not Path(made).exists():
        # Another process, which starts now, too, has taken it for one left behind.
        held = _hold(made := tempfile.mkdtemp(prefix=PREFIX_OF_FOLDERS))
    os.environ[FOLDER] = made or given
    mark_process_dead(name)
    before = values.ValueClass
    values.ValueClass = values.MultiProcessValue(lambda: name)

    def remove() -> None:
        values.ValueClass = before
        if made is not None:
            os.environ.pop(FOLDER, None)
            shutil.rmtree(made, ignore_errors=True)
        if held is not None:
            os.close(held)

    return remove


def _hold(folder: str, exclusively: bool = False) -> int | None:
    """A descriptor that holds the folder while it is open; `None` where it is gone, not ours, or held otherwise."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(held, (fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), os.stat(folder)):
            return held
    except OSError:
        pass
    os.close(held)
    return None


def _sweep() -> None:
    """Remove the folders that no process holds any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX_OF_FOLDERS}*"):
        held = _hold(str(folder), exclusively=True)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def annex_of(pid: int) -> str:
    """The name of the annex of a process."""
    return f"{pid}-annex"


@dataclass(frozen=True)
class Now:
    """What is known only when it is asked for: workers whose breakers are open, and how much waits in which queue."""

    open: Mapping[str, bool]
    queues: Mapping[str, int]


class Metrics:
    """The figures of the requests and calls of one application."""

    def __init__(self) -> None:
        self._own = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return _remembered(Counter(PREFIX + name, what, labels, registry=self._own))

        def histogram(name: str, what: str, *labels: str) -> Histogram:
            return _remembered(Histogram(PREFIX + name, what, labels, registry=self._own, buckets=_SECONDS))

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return _remembered(Gauge(PREFIX + name, what, labels, registry=self._own, multiprocess_mode="livesum"))

        of_request = ("model", "wire")
        self.requests = counter("requests", "Requests that have ended", *of_request, "status", "stream")
        self.request_seconds = histogram("request_seconds", "From a request's arrival to its end", *of_request)
        self.request_first = histogram("request_first_byte_seconds", "Until the first part of a stream", *of_request)
        self.request_tokens = counter("request_tokens", "Tokens of all calls of a request", "model", "kind")
        self.request_usd = counter("request_cost_usd", "Cost of all calls of a request", "model")
        self.requests_now = gauge("requests_in_flight", "Requests that are being answered", "wire")
        self.calls = counter("calls", "Tries of calls to workers", "worker", "outcome")
        self.call_seconds = histogram("call_seconds", "From a call's sending to its end", "worker")
        self.call_first = histogram("call_first_byte_seconds", "Until the first part of a streamed reply", "worker")
        self.call_tokens = counter("call_tokens", "Tokens of replies", "worker", "kind")
        self.call_usd = counter("call_cost_usd", "Cost of replies", "worker")
        self.calls_now = gauge("calls_in_flight", "Calls that are under way", "worker")

    def page(self, now: Now, annex_lives: bool = True) -> bytes:
        """All of it as Prometheus reads it. Reads files: call it in a thread."""
        shown = CollectorRegistry()
        ProcessCollector(registry=shown)
        shown.register(_Current(now))
        if folder := _shared():
            if not annex_lives:
                mark_process_dead(annex_of(os.getpid()))
            _forget_dead(folder)
            shown.register(_Shared(folder))
        else:
            shown.register(self._own)
        return generate_latest(shown)


def _remembered(metric: Figure) -> Figure:
    """The metric, which remembers by its labels what it counts with: prometheus-client makes texts of them, and takes a
    lock, at each use."""
    metric.labels = lru_cache(maxsize=LABELS)(metric.labels)  # type: ignore[method-assign]
    return metric


def _shared() -> str | None:
    # A library may have counted before this process shared anything, and has values of its own then.
    return os.environ.get(FOLDER) if getattr(values.ValueClass, "_multiprocess", False) else None


def _forget_dead(folder: str) -> None:
    """Drop what processes that have ended had under way; what they counted stays."""
    for file in Path(folder).glob("gauge_live*.db"):
        name = file.stem.rpartition("_")[2]
        if name.isdigit() and not Path(f"/proc/{name}").exists():
            mark_process_dead(name)


class _Shared:
    """The figures of all processes, without those of libraries."""

    def __init__(self, folder: str) -> None:
        self._all = MultiProcessCollector(None, folder)

    def collect(self) -> Iterable[Metric]:
        found: Iterable[Metric] = self._all.collect()
        return [metric for metric in found if metric.name.startswith(PREFIX)]


class _Current:
    def __init__(self, now: Now) -> None:
        self._now = now

    def collect(self) -> Iterator[Any]:
        breakers = GaugeMetricFamily(
            PREFIX + "breaker_open", "1: the worker is not asked at present", labels=["worker"]
        )
        for worker, is_open in self._now.open.items():
            breakers.add_metric([worker], float(is_open))
        yield breakers
        queues = GaugeMetricFamily(PREFIX + "queue_depth", "What waits in this process", labels=["queue"])
        for queue, depth in self._now.queues.items():
            queues.add_metric([queue], float(depth))
        yield queues
