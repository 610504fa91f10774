"""Many who claim, renew and settle the same calls in batches: all get through, and the sums hold."""

import random
import threading

from models.ledger.accounts import Allowance, spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.tries import free, renew, send

CALLS, BUDGETS, ROUNDS = 40, ("a", "b"), 40
ALLOWANCES = (None, Allowance("r", 1000.0, None), Allowance("q", None, 1000))


def test_batches_that_overlap_never_stop_one_another(ledger):
    """Leases that end at once and batches in any order: what a database with row locks calls a deadlock if it can."""
    for name in BUDGETS:
        open_budget(ledger, name, 1000.0)
    failures = []

    def contend(me):
        chance = random.Random(me)
        try:
            for _ in range(ROUNDS):
                some = [f"call{n:02}" for n in chance.sample(range(CALLS), 6)]
                specs = [CallSpec(name, "s", "w", "1", {}, 0.01, chance.choice(ALLOWANCES)) for name in some]
                lease_s = chance.choice([0.0, 0.0, 60.0])
                mine = [
                    found
                    for found in claim(ledger, specs, me, lease_s=lease_s, budget=chance.choice(BUDGETS))
                    if found.state == "mine"
                ]
                send(ledger, [(found.call_id, found.attempt) for found in chance.sample(mine, len(mine) // 2)], me, 0.0)
                renew(ledger, some, me, 0.0)
                free(ledger, chance.choice(BUDGETS))
                kept = chance.sample(mine, len(mine) // 3)
                settle(ledger, [Settlement(found.call_id, found.attempt, me, {}, 0.004, 0.0) for found in kept])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=contend, args=(name,)) for name in "uvwxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    claim(ledger, [CallSpec(f"call{n:02}", "s", "w", "1", {}, 0.0) for n in range(CALLS)], "end", lease_s=0.0)
    account, money = spend(ledger), [remaining(ledger, name) for name in BUDGETS]
    assert account["settled"] > 0 and account["maybe_paid"] > 0
    assert sum(budget["reserved"] for budget in money) == 0.0
    assert round(sum(budget["spent"] for budget in money), 9) == round(account["usd"] + account["maybe_usd"], 9)
