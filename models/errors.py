"""Every error that `models` raises.

FuguError
├── TransientError             a later try may succeed: retried under the one policy
│   ├── RateLimited            429; `retry_after` seconds where the upstream named them
│   ├── UpstreamTimeout        connect or total limit passed (the call may have been paid)
│   ├── UpstreamUnavailable    connection lost, 5xx
│   └── ClaimHeld              another owner's lease on the same call is alive
└── PermanentError             trying again changes nothing
    ├── BadInput               what the caller gave is wrong; `field` names where
    │   ├── BadFile            a pool, question or score file; `path` and `line`
    │   └── NoWorkerAllowed    the mask leaves no worker
    ├── UpstreamRefused        4xx from a worker's provider; `status`
    ├── MissingKey             the environment variable that should hold a worker's key holds none
    ├── RecordedWorker         a worker known only from recorded scores was asked live
    ├── BudgetExceeded         the worst case of a call does not fit the limit that is named
    ├── LimitReached           a request's own limit was met before anything was finished; `limit` names it
    ├── WorkflowFailed         a step failed on every worker that may be asked; `step` counts from 0
    ├── MaybePaid              a call died in flight and resending was not allowed
    ├── NotReady               the gate of a stage was not passed; the message says which figure missed it
    ├── IsolationUnavailable   a grader that runs code found no sandbox
    └── NotFound               no such checkpoint, request, question, worker
"""

from __future__ import annotations


class FuguError(Exception):
    """Root of the tree."""


class TransientError(FuguError):
    """A later try may succeed. `retry_after`: seconds the upstream asked to wait, if it did.

    `maybe_paid`: the request may have reached a model, so that this try may cost money.
    """

    def __init__(self, message: str, retry_after: float | None = None, maybe_paid: bool = False) -> None:
        super().__init__(message)
        self.retry_after, self.maybe_paid = retry_after, maybe_paid


class RateLimited(TransientError):
    """The upstream answered 429."""


class UpstreamTimeout(TransientError):
    """The connect or total limit passed; the call may have been paid."""


class UpstreamUnavailable(TransientError):
    """Connection refused or lost, or a 5xx."""


class ClaimHeld(TransientError):
    """Another owner holds a live lease on the same call."""


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

    def __init__(self, message: str, status: int = 400, answered: bool = True) -> None:
        super().__init__(message)
        self.status, self.answered = status, answered

    @property
    def of_the_request(self) -> bool:
        """Whether this one request was refused (too long, filtered), and not the caller or the model's name."""
        return self.answered and self.status in (400, 413, 422)


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
