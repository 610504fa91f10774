"""Loaded by Dask in each process of a local cluster: the process ends with the flow's, however that ends.

Dask watches its parent by a pipe; a process was seen to outlive a killed flow by an hour all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

LOOK_S = 1.0
"""Pause between two looks at whether the flow's process lives."""


def dask_setup(worker: object) -> None:
    """Called by Dask in a process that it has started."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_end_with, args=(parent.pid,), name="fugu-orphan", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)  # a process can only be asked who its parent is
    os._exit(1)
