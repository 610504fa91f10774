"""Ledger records of a finished try: the settlement of a reply, or the failure with the time of the next try."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from models.errors import FuguError, TransientError, UpstreamUnavailable
from models.ledger.calls import Claim, Settlement
from models.ledger.text import storable
from models.workers.ask import Reply
from models.workers.client import Chunk
from models.workers.pool import Worker
from models.workers.retry import RetryPolicy
from models.workers.writes import Failure


def settlement_of(claim: Claim, owner: str, reply: Reply) -> Settlement:
    """The settlement that stores the reply under the owner's claim."""
    stored = reply.model_dump(mode="json", exclude={"call_id"})
    return Settlement(claim.call_id, claim.attempt, owner, stored, cost_usd=reply.cost_usd, seconds=reply.seconds)


def failure_of(claim: Claim, error: BaseException, sent: bool, retry: RetryPolicy, tries: int, once: bool) -> Failure:
    """The failure to record, with the time of the next try, which all callers observe.

    `tries`: how many have failed. `once`: the callers decide on retries, so that a pause follows every failure.
    """
    message, transient = storable(str(error)) or type(error).__name__, isinstance(error, TransientError)
    if not isinstance(error, TransientError):
        # An error that is not a FuguError, such as a cancellation, does not tell whether the call was paid.
        maybe_paid = sent and getattr(error, "maybe_paid", not isinstance(error, FuguError))
        return Failure(claim.call_id, claim.attempt, message, transient, None, maybe_paid)
    pause = retry.pause(tries, error.retry_after) if once else retry.delay(tries, error)
    wait = timedelta(seconds=pause if pause is not None else error.retry_after or 0.0)
    return Failure(claim.call_id, claim.attempt, message, transient, datetime.now(UTC) + wait, error.maybe_paid)


def stored(claim: Claim) -> Reply:
    """The reply of a settled call."""
    return Reply.model_validate({**(claim.reply or {}), "call_id": claim.call_id})


def replayed(reply: Reply) -> list[Chunk]:
    """A settled reply as a stream: its text and reasoning in one chunk, then the whole of it."""
    calls = tuple({"index": index, **call} for index, call in enumerate(reply.tool_calls))
    piece = Chunk(reply.text or "", calls, reply.logprobs or (), thoughts=reply.thoughts or "")
    return [*([piece] if piece.answers or piece.thoughts else []), Chunk(reply=reply)]


def reply_or_error(result: Reply | BaseException) -> Reply | FuguError:
    """The result; raises what is no error of ours."""
    if isinstance(result, Reply | FuguError):
        return result
    raise result


def ended(reply: Reply | None, worker: Worker) -> Reply:
    """The reply with which a stream has ended. Raises UpstreamUnavailable where there is none."""
    if reply is None:
        raise UpstreamUnavailable(f"worker {worker.name!r}: the stream ended early", maybe_paid=True)
    return reply
