"""Times that an upstream names: whatever they are, nobody sleeps longer than its patience, and no claim is left."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from models.errors import LONGEST_WAIT_S, RateLimited, UpstreamUnavailable, WorkerOpen
from models.ledger.tables import calls
from models.workers.retry import RetryPolicy
from models.workers.upstream import retry_after

DAY = LONGEST_WAIT_S
WAITS = {
    "7": 7.0,
    "0.5": 0.5,
    "-5": 0.0,
    "0": 0.0,
    "inf": DAY,
    "-inf": 0.0,
    "1e400": DAY,
    "9" * 400: DAY,
    "nan": None,
    "86400": DAY,
    "31536000": DAY,
    "20s": 20.0,
    "6m0s": 360.0,
    "1h30m": 5400.0,
    "500ms": 0.5,
    "20, 30": 20.0,
    "20 parsecs": None,
    "soon": None,
    "": None,
    "Fri, 31 Dec 9999 23:59:59 GMT": DAY,
    "Fri, 31 Dec 99999 23:59:59 GMT": DAY,
    "Wed, 01 Jan 2020 00:00:00 GMT": 0.0,
    "Wed, 32 Jan 2020 00:00:00 GMT": None,
}


@pytest.mark.parametrize("value", WAITS)
def test_a_wait_is_bounded_or_none(value):
    assert retry_after({"retry-after": value}) == WAITS[value]


@pytest.mark.parametrize("seconds", [90, 30 * DAY])
def test_a_time_since_1970_and_a_date_are_the_wait_until_then(seconds):
    then = time.time() + seconds
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    for headers in (
        {"retry-after": f"{then:.0f}"},
        {"retry-after": f"{1000 * then:.0f}"},
        {"retry-after": date},
        {"x-ratelimit-reset": f"{1000 * then:.0f}"},
        {"retry-after-ms": f"{1000 * seconds}"},
    ):
        wait = retry_after(headers)
        assert wait is not None and min(seconds, DAY) - 5 < wait <= min(seconds, DAY) + 1


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str) | st.dates().map(str))
def test_no_value_makes_a_wait_that_cannot_be_waited(value):
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset"):
        wait = retry_after({name: value})
        assert wait is None or 0 <= wait <= DAY


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 253402300800.0, DAY])
def test_an_error_cannot_carry_a_longer_one(seconds):
    assert RateLimited("slow down", seconds).retry_after == DAY
    assert RateLimited("slow down", float("nan")).retry_after is None


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["inf", "86400", "99999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "5m"])
async def test_beyond_the_patience_both_asks_of_a_call_are_refused_at_once(meet, odd, ledger, value, status, streaming):
    odd.status, odd.headers = status, f"retry-after: {value}\r\n"
    async with asyncio.timeout(120):
        for error in (RateLimited if status == 429 else UpstreamUnavailable, (RateLimited, WorkerOpen)):
            with pytest.raises(error, match=r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC") as caught:
                await meet({"error": {"message": "slow down"}}, streaming)
            assert 250 < caught.value.retry_after <= DAY
    assert odd.asked["odd"] == 1
    with ledger.transaction() as connection:
        assert connection.execute(select(calls.c.status)).scalars().all() == ["failed"]


def test_a_policy_waits_no_longer_than_its_patience():
    policy = RetryPolicy(patience_s=10.0)
    assert policy.delay(1, RateLimited("busy", 10.0)) == 10.0
    assert policy.delay(1, RateLimited("busy", 10.1)) is None
