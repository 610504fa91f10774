"""Every error that `models` raises.

FuguError
├── TransientError             a later try may succeed: retried under the retry policy
│   ├── RateLimited            429; `retry_after` seconds where the upstream named them
│   ├── UpstreamTimeout        connect or total limit passed (the call may have been paid)
│   ├── UpstreamUnavailable    connection lost, 5xx
│   │   └── UpstreamBroken     a worker reported a failure after it began to answer: paid, not resent immediately
│   ├── WorkerOpen         its breaker keeps the worker from being asked; nothing was sent
│   ├── ClaimHeld              another owner's lease on the same call has not expired
│   └── LedgerAway             the ledger's database cannot be reached or written; nothing was sent
└── PermanentError             a later try would fail the same way
    ├── BadInput               invalid input from the caller; `field` names the field
    │   ├── BadFile            a pool, question or score file; `path` and `line`
    │   └── NoWorkerAllowed    the mask leaves no worker
    ├── UpstreamRefused        4xx from a worker's provider; `status`
    ├── Unfit                  a worker's reply, and its repair, do not fit the format that was asked for
    ├── UpstreamMalformed      a worker's complete reply cannot be parsed: paid, so it is not requested again
    ├── MissingKey             the environment variable for a worker's key is empty or invalid
    ├── RecordedWorker         a worker known only from recorded scores was asked live
    ├── BudgetExceeded         the worst-case cost of a call exceeds the limit that the message names
    ├── LimitReached           a request's own limit was reached before any step finished; `limit` names it
    ├── WorkflowFailed         a step failed on every worker that may be asked; `step` counts from 0
    ├── MaybePaid              a call died in flight and resending was not allowed
    ├── NotTaught              a conductor was not taught to plan for such a question: one worker answers it
    ├── NotReady               a stage's condition was not met; the message names the figure that missed it
    ├── IsolationUnavailable   a grader that runs code found no sandbox
    └── NotFound               no such checkpoint, request, question, worker
        └── Pruned             its texts were deleted: too old, or over the byte limit
"""

from __future__ import annotations

import math
import re
import traceback
from datetime import datetime
from typing import Any, ClassVar


class FuguError(Exception):
    """Root of the tree. `quotes`: whether the message may contain text from a user or a worker."""

    quotes: ClassVar[bool] = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes with all that they carry, whatever their constructors take."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[FuguError], args: tuple[Any, ...], state: dict[str, Any]) -> FuguError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


LONGEST_WAIT_S = 86_400.0
"""A day. Longer waits are cut to it: it exceeds any patience, and adding it to the present date cannot overflow."""


def bounded_wait(seconds: float | None) -> float | None:
    """The seconds, clamped to [0, LONGEST_WAIT_S]; `None` for `None` and for NaN."""
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
    """A worker began to answer and then reported a failure (a finish reason `error`, an error within a stream).

    The tokens generated so far are paid for, so the retry policy does not resend it; a batch's task may.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, maybe_paid=True)


class WorkerOpen(TransientError):
    """The worker is not asked at present: it kept failing (`retry_after`: until its next probe), or its key was refused
    (`retry_after` is `None`: until somebody acts). Nothing was sent."""


class AllOpen(WorkerOpen):
    """None of the workers that may be asked is asked at present (`retry_after`: until the first one is)."""


class ClaimHeld(TransientError):
    """Another owner holds a live lease on the same call."""


class LedgerAway(TransientError):
    """The ledger's database cannot be reached or written. Whether the pending write was committed is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=1.0)


class PermanentError(FuguError):
    """A later try would fail the same way."""


class BadInput(PermanentError):
    """Invalid input from the caller. `field`: the name of the offending field, where there is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class BadFile(BadInput):
    """A file cannot be used. `path`, and `line` (from 1) where the fault is in one line."""

    def __init__(self, path: object, message: str, line: int | None = None) -> None:
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {message}")
        self.path, self.line = str(path), line


class NoWorkerAllowed(BadInput):
    """The mask leaves no worker to ask."""


_ABILITY = re.compile(
    r"(?:not|n't|un) ?support|context.{0,30}(?:length|window|size)|too (?:long|large|many tokens)|maximum.{0,20}tokens"
    r"|(?:image|vision|audio|tool|function|json|response_format|schema|modalit|reasoning).{0,40}(?:not|un|only)\b",
    re.IGNORECASE,
)
"""What providers say in a 400 where another model may take the request."""


class UpstreamRefused(PermanentError):
    """A worker's provider refused the request. `status`: its HTTP status, or where it says with another one that the
    key is none, or has no money or quota left, 401 or 402.

    `answered`: the provider itself refused; if not, litellm did, which then sent nothing (an unknown model, a field
    that it cannot map).
    """

    quotes = True

    def __init__(self, message: str, status: int = 400, answered: bool = True) -> None:
        super().__init__(message)
        self.status, self.answered = status, answered

    @property
    def of_the_request(self) -> bool:
        """Whether the request's content was refused (too long, filtered), rather than its key or its model's name."""
        return self.answered and self.status in (400, 413, 415, 422)

    @property
    def of_an_ability(self) -> bool:
        """Whether the model cannot do what the request needs (its length, images, tools, a format), and another may."""
        return self.status == 413 or _ABILITY.search(str(self)) is not None


class UpstreamMalformed(PermanentError):
    """A worker's reply came whole, with a status of success, and cannot be parsed. It may have been paid."""

    quotes = True
    maybe_paid = True


class Unfit(PermanentError):
    """A worker's reply does not fit the format that the caller asked for. The message says what is wrong with it."""

    quotes = True


class MissingKey(PermanentError):
    """The environment variable that should hold a worker's key is empty, or its value cannot be a key."""


class RecordedWorker(PermanentError):
    """A worker known only from recorded scores cannot be asked."""


class BudgetExceeded(PermanentError):
    """The worst-case cost of the next call exceeds the limit that the message names."""


class LimitReached(PermanentError):
    """A request's own limit was reached. `limit`: its name (`max_usd`, `max_calls`, `max_seconds`)."""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class WorkflowFailed(PermanentError):
    """A step of a workflow failed on every worker that may be asked. `step`: its index in the plan, from 0."""

    quotes = True

    def __init__(self, message: str, workflow: str, step: int) -> None:
        super().__init__(message)
        self.workflow, self.step = workflow, step


class MaybePaid(PermanentError):
    """A call died in flight and resending it was not allowed."""


class NotTaught(PermanentError):
    """A conductor was not taught to plan for such a question: a single worker answers it."""


class NotReady(PermanentError):
    """A training stage was not started, since something it needs does not exist yet."""


class IsolationUnavailable(PermanentError):
    """Code cannot be run in isolation here, so it is not run."""


class NotFound(PermanentError):
    """Nothing of that name or id exists."""


class Pruned(NotFound):
    """The texts of a request or call have been deleted. `since`: when."""

    def __init__(self, what: str, since: datetime) -> None:
        super().__init__(f"{what} was pruned on {since:%Y-%m-%d}: its texts are gone (FUGU_KEEP_DAYS, FUGU_KEEP_BYTES)")
        self.since = since


def another_may_answer(error: FuguError) -> bool:
    """Whether another worker may take what this one failed at: its fault is of the worker, not of the request."""
    if isinstance(error, UpstreamRefused):
        return not error.of_the_request or error.of_an_ability
    of_the_ledger = isinstance(error, LedgerAway | ClaimHeld)
    return isinstance(error, TransientError | UpstreamMalformed | MissingKey) and not of_the_ledger


def loggable(error: BaseException) -> str:
    """An error as one log line without any text from users or workers.

    An error whose message may quote them is reduced to its class and its status; one that is not ours to its class and
    the place where it was raised.
    """
    name = type(error).__name__
    if isinstance(error, UpstreamRefused):
        return f"{name} (status {error.status})"
    if isinstance(error, FuguError):
        return name if error.quotes else f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} at {frames[-1].filename}:{frames[-1].lineno}" if frames else name
