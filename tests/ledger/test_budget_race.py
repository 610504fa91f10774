import random
import threading

from models.errors import BudgetExceeded
from models.ledger.accounts import spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim, fail, settle


def test_threads_together_never_pass_the_limit(ledger):
    """Six threads spend, fail and leave calls in doubt against one limit until it refuses them all."""
    open_budget(ledger, "b", 1.0)
    seen = []

    def spender(me):
        chance = random.Random(me)
        for n in range(40):
            spec = CallSpec(f"{me}/{n}", "s", "w", "1", {}, 0.05)
            try:
                found = claim(ledger, [spec], me, budget="b")[0]
            except BudgetExceeded:
                return
            end = chance.random()
            if end < 0.6:
                settle(ledger, [Settlement(found.call_id, 1, me, {}, 0.04, 0.0)])
            else:
                fail(ledger, found.call_id, 1, me, "no", transient=True, maybe_paid=end < 0.8)
            seen.append(remaining(ledger, "b")["left"])

    threads = [threading.Thread(target=spender, args=(name,)) for name in "uvwxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left, account = remaining(ledger, "b"), spend(ledger)
    assert min(seen) >= 0.0 and left["reserved"] == 0.0
    assert left["spent"] == round(account["usd"] + account["maybe_usd"], 9) <= 1.0
    assert left["left"] < 0.05
