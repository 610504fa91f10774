"""A process of the crash test: claims calls, pays, settles, until all are settled. Arguments: url, seed, calls.

It tells what it does on standard output, a pipe that all contenders share: a line is out before anything else
happens, as a provider's own count would be.
"""

import os
import random
import sys

from models.ledger.calls import CallSpec, Settlement, claim, settle
from models.ledger.store import Ledger
from models.ledger.tries import send


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main(url, seed, count):
    ledger, me, chance = Ledger(url), str(os.getpid()), random.Random(int(seed))
    open_calls = {f"call{n}" for n in range(int(count))}
    while open_calls:
        some = chance.sample(sorted(open_calls), min(5, len(open_calls)))
        specs = [CallSpec(name, "s", "w", "1", {}, 0.01) for name in some]
        for found in claim(ledger, specs, me, lease_s=3600, budget="b"):
            if found.state == "mine":
                assert send(ledger, [(found.call_id, found.attempt)], me, 3600) == [True]
                tell("paid", found.call_id, found.attempt, me)
                kept = settle(ledger, [Settlement(found.call_id, found.attempt, me, {"by": me}, 0.004, 0.0)])
                tell("settled" if kept == [True] else "fenced", found.call_id, found.attempt, me)
            elif found.state == "settled":
                open_calls.discard(found.call_id)
    tell("done", "-", 0, me)


try:
    main(*sys.argv[1:])
except Exception:
    tell("failed", "-", 0, os.getpid())
    raise
