"""What a script of this folder says: its last line, a JSON object that `run` puts into the table."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from importlib.metadata import version

BASE_URL = os.environ.get("FUGU_BASE_URL", "")
ROOT_URL = os.environ.get("FUGU_ROOT_URL", "")
API_KEY = os.environ.get("FUGU_API_KEY", "")


def tell(client: str, number: str, *steps: Callable[[], object]) -> None:
    """Take the steps, each a function whose docstring is what it does, and say which of them succeeded.

    `client`: its name in the table. `number`: its version, or the package whose version it is.
    """
    did, wrong = [], None
    for step in steps:
        try:
            step()
        except BaseException as error:
            wrong = f"{step.__doc__}: {type(error).__name__}: {error} {traceback.format_exc(limit=-2)}"
            break
        did.append(step.__doc__ or step.__name__)
    row = {"client": client, "version": _version(number), "did": did, "ok": wrong is None}
    print(json.dumps(row if wrong is None else {**row, "error": wrong[-900:]}), flush=True)


def _version(number: str) -> str:
    return number if number[:1].isdigit() else version(number)
