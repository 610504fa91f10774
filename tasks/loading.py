"""Say in the log of a run what it is loading, where that takes long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

LONG_S = 5.0
"""Seconds after which a person who looks at a run wants to know what it is doing."""

log = logging.getLogger(__name__)


@contextmanager
def loading(what: str) -> Iterator[None]:
    """While `what` is loaded or made: say so after `LONG_S` seconds, and then when it is there.

    From another thread, since the work may keep the event loop's; with this one's context, by which Prefect knows whose
    log it is.
    """
    began, said = time.monotonic(), threading.Event()

    def say() -> None:
        said.set()
        log.info("loading %s: this takes a while", what)

    timer = threading.Timer(LONG_S, copy_context().run, (say,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if said.is_set():
        log.info("%s is loaded, after %.0f s", what, time.monotonic() - began)
