"""LiteLLM's proxy as a rival, in a virtual environment of its own: it does not resolve with `constraints.txt`.

The environment is made at the first use, in FUGU_RIVALS (default: a folder of the user's cache), and kept.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from conduct_many import answers, process, until

from deployments.server import free_port

VERSION = "1.106.2"  # the newest whose proxy resolves from the package index alone
READY_S = 180.0

KEY = f"sk-{secrets.token_hex(16)}"
"""What the proxy's callers send: it does not start without a key."""


def installed() -> Path:
    """The environment's folder of programs; installs LiteLLM into it where it is not there yet (some minutes)."""
    root = Path(os.environ.get("FUGU_RIVALS", Path.home() / ".cache" / "fugu-rivals")) / f"litellm-{VERSION}"
    if not (root / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
        pip = [str(root / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"litellm[proxy]=={VERSION}"], check=True)
        (root / "installed").touch()
    return root / "bin"


@contextmanager
def litellm_proxy(folder: Path, models: Sequence[dict[str, Any]], router: dict[str, Any]) -> Iterator[str]:
    """The address of a proxy. `models`: its `model_list`; `router`: its `router_settings`."""
    config, port = folder / "litellm.yaml", free_port("127.0.0.1", 0, "port")
    config.write_text(yaml.safe_dump({"model_list": list(models), "router_settings": router}))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("FUGU_", "PREFECT_"))}
    own |= {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": KEY,
        "DISABLE_ADMIN_UI": "True",
    }
    command = [str(installed() / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with process(command, own, folder / "litellm.log"):
        until(lambda: answers(f"http://127.0.0.1:{port}/health/liveliness"), READY_S)
        yield f"http://127.0.0.1:{port}/v1"
