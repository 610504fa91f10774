"""An API key for a benchmark's endpoint: from then on it asks everybody for one."""

from __future__ import annotations

import time

from models.ledger.access.keys import make_key
from models.ledger.access.policy import Policy
from tasks.setup.settings import open_ledger


def with_key() -> dict[str, str]:
    """Makes a key in the home of this environment, and gives the header that it is sent in."""
    ledger = open_ledger()
    _, key = make_key(ledger, f"benchmark {time.time_ns()}", Policy(scopes=("chat", "trace", "admin")), None)
    ledger.close()
    return {"authorization": f"Bearer {key}"}
