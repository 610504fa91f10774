"""Portkey's gateway as a rival, from npm, in a folder of its own (FUGU_RIVALS, default: one of the user's cache)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conduct_many import answers, process, until

from deployments.server import free_port

VERSION = "1.15.2"
READY_S = 60.0

LOOPBACK = """
const net = require("node:net")
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  return typeof port === "number" ? listen.call(this, port, "127.0.0.1", rest.at(-1)) : listen.call(this, port, ...rest)
}
"""
"""The gateway has no option for its host: run before it, this keeps it on this machine."""


def installed() -> Path:
    """The gateway's program; fetches it where it is not there yet."""
    root = Path(os.environ.get("FUGU_RIVALS", Path.home() / ".cache" / "fugu-rivals")) / f"portkey-{VERSION}"
    if not (root / "installed").exists():
        root.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"@portkey-ai/gateway@{VERSION}"]
        subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
        (root / "installed").touch()
    return root / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def headers(upstream: str) -> dict[str, str]:
    """What its callers send. `upstream`: ends in /v1."""
    return {"authorization": "Bearer none", "x-portkey-provider": "openai", "x-portkey-custom-host": upstream}


@contextmanager
def portkey_gateway(folder: Path) -> Iterator[str]:
    """The address of a gateway."""
    preload, port = folder / "loopback.cjs", free_port("127.0.0.1", 0, "port")
    preload.write_text(LOOPBACK)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("FUGU_", "PREFECT_"))}
    command = ["node", "--require", str(preload), str(installed()), f"--port={port}", "--headless"]
    with process(command, own | {"NODE_ENV": "production"}, folder / "portkey.log"):
        until(lambda: answers(f"http://127.0.0.1:{port}/"), READY_S)
        yield f"http://127.0.0.1:{port}/v1"
