"""The dispatcher's ledger writes, executed in batches in the ledger's thread."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.errors import BudgetExceeded, LedgerAway
from models.ledger.access.holds import lapse
from models.ledger.calls import CallSpec, Claim, Settlement, claim, fail, settle
from models.ledger.outage import apart
from models.ledger.providers.paces import give_back
from models.ledger.store import Ledger
from models.ledger.tries import free, renew, send, withdraw
from models.ledger.unsettled import recover

FREE_S = 5.0
"""Between two looks for claims of dead processes that hold money of a full budget."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A try that failed."""

    call_id: str
    attempt: int
    error: str
    transient: bool = False
    retry_at: datetime | None = None
    maybe_paid: bool = False


@dataclass(frozen=True)
class Sending:
    """A try whose request is about to be sent."""

    call_id: str
    attempt: int


@dataclass(frozen=True)
class Unused:
    """Seconds of a worker's tokens per minute that a call took and did not use."""

    worker: str
    seconds: float


@dataclass(frozen=True)
class Chore:
    """A background task: `recover` dead processes' replies, `withdraw` claims, or `renew` leases."""

    kind: str
    ids: frozenset[str] = frozenset()


_Call = (Settlement, Sending, CallSpec)
"""What becomes of a call."""

_Kind = tuple[type | tuple[type, ...], Callable[[Sequence[Any]], list[Any]]]
"""Items, and what writes them."""


class Writer:
    """Writes for one owner. `budget`: in which worst cases are reserved."""

    def __init__(self, ledger: Ledger, owner: str, lease_s: float, resend: bool, budget: str | None) -> None:
        self._ledger, self._owner, self._lease_s = ledger, owner, lease_s
        self._resend, self._budget = resend, budget
        self._freed: dict[str, float] = {}
        self._full_until = 0.0

    def write(self, items: Sequence[Any]) -> list[Any]:
        """Each item's result or exception, in order: LedgerAway for all that were not, or possibly not, written.

        Settlements are written before claims, since they release money that claims reserve.
        """
        writers: list[_Kind] = [
            (Chore, lambda some: _singly(self._do, some)),
            (Unused, lambda some: apart(self._give_back, some)),
            (Failure, lambda some: _singly(self._fail, some)),
            (_Call, self._write_calls),
        ]
        return _by_kind(writers, items)

    def _write_calls(self, items: Sequence[Any]) -> list[Any]:
        """Write settlements, marks of what is sent, and claims: on SQLite in one transaction.

        Each costs a flush of the disk there, and none can wait for another in a circle; PostgreSQL locks rows in an
        order, which several of them in one would break. A full budget takes all of them back: for a while they are
        written apart then.
        """
        if self._ledger.is_sqlite and time.monotonic() >= self._full_until:
            try:
                with self._ledger.together():
                    found = _by_kind([(Settlement, self._settle), (Sending, self._send), (CallSpec, self._take)], items)
                return self._retaken(items, found)
            except LedgerAway as away:
                return [away] * len(items)
            except BudgetExceeded:
                self._full_until = time.monotonic() + FREE_S
            except Exception:  # of one item: it is found below
                log.debug("written apart")
        writers: list[_Kind] = [
            (Settlement, lambda some: apart(self._settle, some)),
            (Sending, lambda some: apart(self._send, some)),
            (CallSpec, lambda some: self._retaken(some, apart(self._take, some))),
        ]
        return _by_kind(writers, items)

    def _do(self, chore: Chore) -> None:
        match chore.kind:
            case "recover":
                if count := recover(self._ledger):
                    log.info("%d replies of an earlier process are settled", count)
            case "withdraw":
                withdraw(self._ledger, chore.ids, self._owner)
            case "renew":
                renew(self._ledger, chore.ids, self._owner, self._lease_s)

    def _give_back(self, some: Sequence[Unused]) -> list[None]:
        seconds: dict[str, float] = defaultdict(float)
        for each in some:
            seconds[each.worker] += each.seconds
        give_back(self._ledger, seconds)
        return [None] * len(some)

    def _fail(self, failure: Failure) -> bool:
        return fail(self._ledger, owner=self._owner, **vars(failure))

    def _send(self, some: Sequence[Sending]) -> list[bool]:
        return send(self._ledger, [(each.call_id, each.attempt) for each in some], self._owner, self._lease_s)

    def _settle(self, some: Sequence[Settlement]) -> list[bool]:
        return settle(self._ledger, some)

    def _take(self, specs: Sequence[CallSpec]) -> list[Claim]:
        options: dict[str, Any] = {"lease_s": self._lease_s, "resend": self._resend, "budget": self._budget}
        return claim(self._ledger, specs, self._owner, **options)

    def _retaken(self, items: Sequence[Any], results: list[Any]) -> list[Any]:
        """The results; calls that a full budget refused are claimed again where expired claims have held its money."""
        full = [at for at, item in enumerate(items) if isinstance(item, CallSpec) and self._full(item, results[at])]
        if full and self._free_expired({name for at in full if (name := self._full(items[at], results[at]))}):
            for at, result in zip(full, apart(self._take, [items[at] for at in full]), strict=True):
                results[at] = result
        return results

    def _full(self, spec: CallSpec, result: Any) -> str | None:
        """The budget that kept this call from being claimed, if one did."""
        if isinstance(result, BudgetExceeded):
            return self._budget
        full = isinstance(result, Claim) and result.budget is not None
        return spec.allowance.purse.root if full and spec.allowance and spec.allowance.purse else None

    def _free_expired(self, budgets: Collection[str]) -> bool:
        """Release what expired claims that were never sent, and lapsed holds, had reserved; return whether there were
        any.

        A budget that stays full is looked at once in `FREE_S` seconds: each look is a query.
        """
        now = time.monotonic()
        due = [name for name in sorted(budgets) if now >= self._freed.get(name, 0.0)]
        self._freed |= {name: now + FREE_S for name in due if name != self._budget}
        ends = (lambda budget: free(self._ledger, budget)), (lambda budget: lapse(self._ledger, budget))
        return any(True in _singly(end, due) for end in ends)


def _by_kind(writers: Sequence[_Kind], items: Sequence[Any]) -> list[Any]:
    """Each item's result, in order; after an outage's error those that are written later get it, too."""
    results: dict[int, Any] = {}
    away: LedgerAway | None = None
    for kind, write in writers:
        some = {index: item for index, item in enumerate(items) if isinstance(item, kind)}
        if some:
            found = [away] * len(some) if away is not None else write(list(some.values()))
            away = next((result for result in found if isinstance(result, LedgerAway)), None)
            results |= zip(some, found, strict=True)
    return [results[index] for index in range(len(items))]


def _singly(write: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Write each item in its own transaction; after an outage's error the rest get it too, unwritten."""
    results: list[Any] = []
    for item in items:
        results += apart(lambda one: [write(one[0])], [item])
        if isinstance(results[-1], LedgerAway):
            return results + [results[-1]] * (len(items) - len(results))
    return results
