"""The statements that claim, send and settle calls (`calls.py`, `tries.py`): prepared, since each call runs them."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from models.ledger.tables import calls, tries
from models.ledger.tables.prepared import Prepared, PreparedFor, insert

_STATE = (
    calls.c.id,
    calls.c.status,
    calls.c.attempt,
    calls.c.owner,
    calls.c.lease_until,
    calls.c.not_before,
    calls.c.reply,
    calls.c.created_at,
    calls.c.pruned_at,
)
READ = PreparedFor(lambda ids: select(*_STATE).where(calls.c.id.in_(ids)).order_by(calls.c.id))
READ_LOCKED = PreparedFor(lambda ids: select(*_STATE).where(calls.c.id.in_(ids)).order_by(calls.c.id).with_for_update())
_CALL = ("id", "scope", "worker", "revision", "payload", "status", "attempt", "owner")
_TIMES = ("lease_until", "created_at", "updated_at")
NEW_CALL = Prepared(lambda dialect: insert(dialect, calls).on_conflict_do_nothing(), (*_CALL, *_TIMES))
_TRY = ("call_id", "attempt", "owner", "status", "budget", "worst_usd", "started_at")
NEW_TRY = Prepared(lambda dialect: insert(dialect, tries), _TRY)
SETTLE = Prepared(
    lambda _: (
        update(calls)
        .where(calls.c.id == bindparam("_id"))
        .values(status="settled", error=None, not_before=None, updated_at=bindparam("_now"), reply=bindparam("_reply"))
    )
)

SEND_CALLS = PreparedFor(
    lambda ids: (
        update(calls)
        .where(calls.c.id.in_(ids))
        .values(status="sent", lease_until=bindparam("_lease"), updated_at=bindparam("_now"))
    )
)
SEND_TRIES = PreparedFor(  # a call's older tries have ended
    lambda ids: update(tries).where(tries.c.call_id.in_(ids), tries.c.status == "claimed").values(status="sent")
)
HELD = PreparedFor(
    lambda ids: (
        select(calls.c.id, calls.c.attempt, calls.c.status)
        .where(calls.c.id.in_(ids), calls.c.owner == bindparam("_owner"))
        .order_by(calls.c.id)
        .with_for_update()
    )
)
LOCK_CALLS = PreparedFor(
    lambda ids: select(calls.c.id).where(calls.c.id.in_(ids)).order_by(calls.c.id).with_for_update()
)
TRIES = PreparedFor(
    lambda ids: (
        select(calls.c.attempt.label("current"), calls.c.status.label("call_status"), calls.c.lease_until, *tries.c)
        .join(tries, tries.c.call_id == calls.c.id)
        .where(calls.c.id.in_(ids))
    )
)
_ENDED = ("status", "ended_at", "cost_usd", "seconds", "error", "transient")
END = Prepared(
    lambda _: (
        update(tries)
        .where(tries.c.call_id == bindparam("_id"), tries.c.attempt == bindparam("_attempt"))
        .values({name: bindparam(f"_{name}") for name in _ENDED})
    )
)
