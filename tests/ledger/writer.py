"""One of many processes that write at the same time. Arguments: the ledger's URL, its own number, rounds.

It says that it is ready, and begins when it is told. In each round it claims, sends and settles a call of its own and
one that all of them want, and records a request.
"""

import sys

from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.requests import record_request
from models.ledger.store import Ledger
from models.ledger.tries import send


def main(url, number, rounds):
    ledger, me = Ledger(url), f"writer {number}"
    print(ledger.name, flush=True)
    sys.stdin.readline()
    for round in range(int(rounds)):
        specs = [CallSpec(name, "s", "w", "1", {}, 0.01) for name in (f"{number}/{round}", f"all/{round}")]
        mine = [found for found in claim(ledger, specs, me, lease_s=3600, budget="b") if found.state == "mine"]
        assert all(send(ledger, [(found.call_id, found.attempt) for found in mine], me, 3600))
        assert all(settle(ledger, [Settlement(found.call_id, 1, me, {"by": me}, 0.004, 0.0) for found in mine]))
        record_request(ledger, {"id": f"{number}/{round}", "user": me})
    ledger.close()


main(*sys.argv[1:])
