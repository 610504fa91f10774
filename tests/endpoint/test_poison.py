"""A small `tests/benchmarks/poison.py`: odd replies and a database that goes away; nobody hurt, nothing lost."""

import runpy
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


async def test_a_healthy_request_is_not_hurt_and_no_paid_reply_is_lost_whatever_the_database_does(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    poison = runpy.run_path(str(BENCHMARKS / "poison.py"))
    kinds = ("text-nul", "error-half", "text-half", "error-nul", "wait-date", "error-nul-500", "wait-inf")
    plan = ((0.4, 0.4, "stop"), (1.4, 0.3, "full"))
    # How long a 503 takes to arrive says nothing on a CPU that others use: that it was not paid for does.
    figures = await poison["on_sqlite"](tmp_path, requests=60, plan=plan, kinds=kinds, grace_s=60.0)
    assert figures == {"healthy_failed": 0, "paid_lost": 0, "calls_off": 0, "usd_off": 0.0}
