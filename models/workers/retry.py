"""The retry policy: exponential backoff with full jitter, or the upstream's Retry-After."""

from __future__ import annotations

import random
from dataclasses import dataclass

from models.errors import TransientError, UpstreamBroken


@dataclass(frozen=True)
class RetryPolicy:
    """The number of `tries`, and times in seconds. The pause before try n + 1 is uniform in
    [0, min(cap, base · 2^(n-1))], and at least Retry-After.

    There is no retry if Retry-After exceeds `patience_s`. `poll_s` and `poll_cap_s`: the first and the longest interval
    between checks of a call that another process holds; `hold_s`: the most time to wait for it.
    """

    tries: int = 4
    base_s: float = 0.5
    cap_s: float = 30.0
    patience_s: float = 120.0
    poll_s: float = 0.05
    poll_cap_s: float = 1.0
    hold_s: float = 900.0

    def delay(self, failed: int, error: TransientError) -> float | None:
        """Seconds to wait after `failed` tries (from 1), the last of which raised `error`; `None`: give up."""
        wish = error.retry_after
        if failed >= self.tries or isinstance(error, UpstreamBroken) or (wish is not None and wish > self.patience_s):
            return None
        return self.pause(failed, wish)

    def pause(self, failed: int, retry_after: float | None = None) -> float:
        """Seconds before the next try, however many have failed."""
        jitter = random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** (min(failed, 64) - 1)))
        return max(jitter, retry_after or 0.0)
