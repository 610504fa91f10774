"""An endpoint in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx


@contextmanager
def endpoint(environment: Mapping[str, str]) -> Iterator[str]:
    """The started process's address, once it is ready."""
    command = [sys.executable, "-m", "deployments.endpoint", "--port", "0", "--no-observe"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = json.loads(process.stdout.readline())["url"]
        deadline = time.monotonic() + 60
        while httpx.get(url + "/readyz").status_code != 200:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)  # its readiness can only be asked for
        yield url
    finally:
        process.kill()
        process.communicate()
