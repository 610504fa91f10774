"""Every error that `models` raises.

FuguError
├── TransientError             a later try may succeed: retried under the one policy
│   ├── RateLimited            429; `retry_after` seconds where the upstream named them
│   ├── UpstreamTimeout        connect or total limit passed (the call may have been paid)
│   ├── UpstreamUnavailable    connection lost, 5xx
│   │   └── UpstreamBroken     a worker began to answer and then said that it failed: paid, and not resent at once
│   ├── ClaimHeld              another owner's lease on the same call is alive
│   └── LedgerAway             the ledger's database cannot be reached or written; nothing was sent
└── PermanentError             trying again changes nothing
    ├── BadInput               what the caller gave is wrong; `field` names where
    │   ├── BadFile            a pool, question or score file; `path` and `line`
    │   └── NoWorkerAllowed    the mask leaves no worker
    ├── UpstreamRefused        4xx from a worker's provider; `status`
    ├── UpstreamMalformed      a worker's whole reply cannot be read: paid, so it is not asked for again
    ├── MissingKey             the environment variable that should hold a worker's key holds none
    ├── RecordedWorker         a worker known only from recorded scores was asked live
    ├── BudgetExceeded         the worst case of a call does not fit the limit that is named
    ├── LimitReached           a request's own limit was met before anything was finished; `limit` names it
    ├── WorkflowFailed         a step failed on every worker that may be asked; `step` counts from 0
    ├── MaybePaid              a call died in flight and resending was not allowed
    ├── NotReady               the gate of a stage was not passed; the message says which figure missed it
    ├── IsolationUnavailable   a grader that runs code found no sandbox
    └── NotFound               no such checkpoint, request, question, worker
        └── Pruned             its texts were dropped, since they were too old or too many
"""

from __future__ import annotations

import math
import traceback
from datetime import datetime
from typing import ClassVar


class FuguError(Exception):
    """Root of the tree. `quotes`: whether the message may repeat what a user or a worker said."""

    quotes: ClassVar[bool] = False


LONGEST_WAIT_S = 86_400.0
"""A day. Whoever names a longer one is taken to mean that: it outlasts every patience, and every date can hold it."""


def bounded_wait(seconds: float | None) -> float | None:
    """The seconds within [0, LONGEST_WAIT_S]; what is no number is no wish."""
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


class TransientError(FuguError):
    """A later try may succeed. `retry_after`: seconds the upstream asked to wait, if it did; at most `LONGEST_WAIT_S`.

    `maybe_paid`: the request may have reached a model, so that this try may cost money.
    """

    quotes = True

    def __init__(self, message: str, retry_after: float | None = None, maybe_paid: bool = False) -> None:
        super().__init__(message)
        self.retry_after, self.maybe_paid = bounded_wait(retry_after), maybe_paid


class RateLimited(TransientError):
    """The upstream answered 429."""


class UpstreamTimeout(TransientError):
    """The connect or total limit passed; the call may have been paid."""


class UpstreamUnavailable(TransientError):
    """Connection refused or lost, or a 5xx."""


class UpstreamBroken(UpstreamUnavailable):
    """A worker began to answer and then said that it failed (a finish reason `error`, an error amid a stream).

    What came of it was generated, so it is paid: no policy sends it again at once; a batch's task may.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, maybe_paid=True)


class ClaimHeld(TransientError):
    """Another owner holds a live lease on the same call."""


class LedgerAway(TransientError):
    """The ledger's database cannot be reached or written. What was to be written has not been, or may not have been."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=1.0)


class PermanentError(FuguError):
    """Trying again changes nothing."""


class BadInput(PermanentError):
    """What the caller gave is wrong. `field`: the name of the offending field, where there is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BadFile(BadInput):
    """A file cannot be used: `path`, and `line` (counted from 1) where one line is to blame."""

    def __init__(self, path: object, message: str, line: int | None = None) -> None:
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {message}")
        self.path, self.line = str(path), line


class NoWorkerAllowed(BadInput):
    """The mask leaves no worker to ask."""


class UpstreamRefused(PermanentError):
    """A worker's provider refused the request itself. `status`: its HTTP status.

    `answered`: the provider said so; else litellm did, which sent nothing (an unknown model, a field it cannot map).
    """

    quotes = True

    def __init__(self, message: str, status: int = 400, answered: bool = True) -> None:
        super().__init__(message)
        self.status, self.answered = status, answered

    @property
    def of_the_request(self) -> bool:
        """Whether this one request was refused (too long, filtered), and not the caller or the model's name."""
        return self.answered and self.status in (400, 413, 422)


class UpstreamMalformed(PermanentError):
    """A worker's reply came whole, with a status of success, and cannot be read. It may have been paid."""

    maybe_paid = True


class MissingKey(PermanentError):
    """The environment variable that should hold a worker's key is empty, or what it holds is no key."""


class RecordedWorker(PermanentError):
    """A worker known only from recorded scores cannot be asked."""


class BudgetExceeded(PermanentError):
    """The worst case of the next call does not fit into the limit that the message names."""


class LimitReached(PermanentError):
    """A request's own limit was met. `limit`: the name of it (`max_usd`, `max_calls`, `max_seconds`)."""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class WorkflowFailed(PermanentError):
    """A step of a workflow failed on every worker that may be asked. `step` counts from 0, as the plan was written."""

    quotes = True

    def __init__(self, message: str, workflow: str, step: int) -> None:
        super().__init__(message)
        self.workflow, self.step = workflow, step


class MaybePaid(PermanentError):
    """A call died in flight and resending it was not allowed."""


class NotReady(PermanentError):
    """What a stage of learning needs is not there yet, so it was not begun."""


class IsolationUnavailable(PermanentError):
    """Code cannot be run in isolation here, so it is not run."""


class NotFound(PermanentError):
    """Nothing by that name is known."""


class Pruned(NotFound):
    """What was asked and answered is not kept any more. `since`: when it was dropped."""

    def __init__(self, what: str, since: datetime) -> None:
        super().__init__(f"{what} was pruned on {since:%Y-%m-%d}: its texts are gone (FUGU_KEEP_DAYS, FUGU_KEEP_BYTES)")
        self.since = since


def told(error: BaseException) -> str:
    """An error in a line that repeats nobody's words: of one that may quote, its class, and status or place."""
    name = type(error).__name__
    if isinstance(error, UpstreamRefused):
        return f"{name} (status {error.status})"
    if isinstance(error, FuguError):
        return name if error.quotes else f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} at {frames[-1].filename}:{frames[-1].lineno}" if frames else name
