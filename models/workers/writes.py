"""The dispatcher's ledger writes, executed in batches in the ledger's thread."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.errors import BudgetExceeded, LedgerAway
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


class Writer:
    """Writes for one owner. `budget`: in which worst cases are reserved."""

    def __init__(self, ledger: Ledger, owner: str, lease_s: float, resend: bool, budget: str | None) -> None:
        self._ledger, self._owner, self._lease_s = ledger, owner, lease_s
        self._resend, self._budget = resend, budget
        self._freed: dict[str, float] = {}

    def write(self, items: Sequence[Any]) -> list[Any]:
        """Each item's result or exception, in order: LedgerAway for all that were not, or possibly not, written.

        Settlements are written before claims, since they release money that claims reserve.
        """
        writers: list[tuple[type, Callable[[Sequence[Any]], list[Any]]]] = [
            (Chore, lambda some: _singly(self._do, some)),
            (Settlement, lambda some: apart(lambda these: settle(self._ledger, these), some)),
            (Unused, lambda some: apart(self._give_back, some)),
            (Failure, lambda some: _singly(self._fail, some)),
            (Sending, lambda some: apart(self._send, some)),
            (CallSpec, self._claim),
        ]
        results: dict[int, Any] = {}
        away: LedgerAway | None = None
        for kind, write in writers:
            some = {index: item for index, item in enumerate(items) if isinstance(item, kind)}
            if some:
                found = [away] * len(some) if away is not None else write(list(some.values()))
                away = next((result for result in found if isinstance(result, LedgerAway)), None)
                results |= zip(some, found, strict=True)
        return [results[index] for index in range(len(items))]

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

    def _claim(self, specs: Sequence[CallSpec]) -> list[Any]:
        """Claim as many calls as fit the budget, the earlier ones first."""

        def together(some: Sequence[CallSpec]) -> list[Claim]:
            options: dict[str, Any] = {"lease_s": self._lease_s, "resend": self._resend, "budget": self._budget}
            return claim(self._ledger, some, self._owner, **options)

        results = apart(together, specs)
        if self._free_expired(
            {name for spec, result in zip(specs, results, strict=True) for name in self._full(spec, result)}
        ):
            refused = [at for at, result in enumerate(results) if list(self._full(specs[at], result))]
            again = apart(together, [specs[index] for index in refused])
            results = [dict(zip(refused, again, strict=True)).get(at, result) for at, result in enumerate(results)]
        return results

    def _full(self, spec: CallSpec, result: Any) -> Iterator[str]:
        """The budget that kept this call from being claimed, if one did."""
        if isinstance(result, BudgetExceeded) and self._budget is not None:
            yield self._budget
        elif isinstance(result, Claim) and result.budget is not None and spec.allowance and spec.allowance.purse:
            yield spec.allowance.purse.root

    def _free_expired(self, budgets: Collection[str]) -> bool:
        """Release what expired claims that were never sent had reserved; return whether there were any.

        A budget that stays full is looked at once in `FREE_S` seconds: each look is a query.
        """
        now = time.monotonic()
        due = [name for name in sorted(budgets) if now >= self._freed.get(name, 0.0)]
        self._freed |= {name: now + FREE_S for name in due if name != self._budget}
        return True in _singly(lambda budget: free(self._ledger, budget), due)


def _singly(write: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Write each item in its own transaction; after an outage's error the rest get it too, unwritten."""
    results: list[Any] = []
    for item in items:
        results += apart(lambda one: [write(one[0])], [item])
        if isinstance(results[-1], LedgerAway):
            return results + [results[-1]] * (len(items) - len(results))
    return results
