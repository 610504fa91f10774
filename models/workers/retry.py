"""The retry policy: exponential backoff with full jitter, or the upstream's Retry-After."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass

from models.errors import TransientError, UpstreamBroken, WorkerOpen

PATIENCE_OPEN_S = 10.0
"""How long a request waits where the breakers of all workers that it may ask are open."""


@dataclass(frozen=True)
class RetryPolicy:
    """The number of `tries`, and times in seconds. The pause before try n + 1 is uniform in
    [0, min(cap, base · 2^(n-1))], and at least Retry-After.

    There is no retry if Retry-After exceeds `patience_s`, nor for a worker whose breaker has opened. `open_s`: how long
    a call waits for a breaker to close, or for its probe to end. `pace_s`: how long it waits for its start where the
    worker's limits make it wait. `budget`: the most repeats within a minute, as a share of the calls; three are always
    allowed; `None`: any number of them. `poll_s` and `poll_cap_s`: the first and the longest interval between checks of
    a call that another process holds; `hold_s`: the most time to wait for it. For a place among a worker's calls in
    flight a call waits as long as its caller does.
    """

    tries: int = 4
    base_s: float = 0.5
    cap_s: float = 30.0
    patience_s: float = 120.0
    open_s: float = 0.0
    pace_s: float = 120.0
    budget: float | None = 0.1
    poll_s: float = 0.05
    poll_cap_s: float = 1.0
    hold_s: float = 900.0

    def delay(self, failed: int, error: TransientError) -> float | None:
        """Seconds to wait after `failed` tries (from 1), the last of which raised `error`; `None`: give up."""
        wish = error.retry_after
        hopeless = isinstance(error, UpstreamBroken | WorkerOpen) or (wish is not None and wish > self.patience_s)
        if failed >= self.tries or hopeless:
            return None
        return self.pause(failed, wish)

    def pause(self, failed: int, retry_after: float | None = None) -> float:
        """Seconds before the next try, however many have failed."""
        jitter = random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** (min(failed, 64) - 1)))
        return max(jitter, retry_after or 0.0)


class RetryBudget:
    """The repeats of one process within a minute, those of its steps and plans included: a retry storm must not follow
    an outage."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._calls, self._repeats = deque[float](), deque[float]()

    def called(self, attempt: int) -> None:
        """Count a call that is sent, unless this attempt (from 1) is a repeat of it, whoever made the one before."""
        if attempt == 1:
            self._calls.append(time.monotonic())
            _last_minute(self._calls)

    def take(self) -> bool:
        """Whether one more repeat is within the budget; it is counted then."""
        if self._policy.budget is None:
            return True
        for times in (self._calls, self._repeats):
            _last_minute(times)
        if len(self._repeats) >= max(3, self._policy.budget * len(self._calls)):
            return False
        self._repeats.append(time.monotonic())
        return True


def _last_minute(times: deque[float]) -> None:
    now = time.monotonic()
    while times and times[0] < now - 60.0:
        times.popleft()
