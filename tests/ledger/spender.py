"""A process of the spenders' test: threads that spend one key's money. Arguments: url, purse (JSON), threads, calls."""

import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from models.ledger.access.purses import Purse
from models.ledger.accounts import Allowance
from models.ledger.calls import CallSpec, Settlement, claim, fail, settle
from models.ledger.store import Ledger


def spend(ledger, purse, count, me):
    """Calls whose worst case is 0.03 USD and that cost 0.0211; now and then one dies unpaid, or perhaps paid."""
    chance, owner, settled = random.Random(me), f"{os.getpid()}/{me}", 0
    for number in range(count):
        spec = CallSpec(f"{owner}/{number}", owner, "w", "1", {}, 0.03, Allowance(owner, purse=purse))
        [found] = claim(ledger, [spec], owner)
        if found.state != "mine":
            assert found.budget, found
            continue
        end = chance.random()
        if end < 0.8:
            settle(ledger, [Settlement(found.call_id, 1, owner, {}, 0.0211, 0.0)])
            settled += 1
        else:
            fail(ledger, found.call_id, 1, owner, "no", transient=True, maybe_paid=end < 0.9)
    return settled


def main(url, purse, threads, count):
    ledger, purse = Ledger(url), Purse(**json.loads(purse))
    with ThreadPoolExecutor(int(threads)) as pool:
        print(sum(pool.map(partial(spend, ledger, purse, int(count)), range(int(threads)))))


main(*sys.argv[1:])
