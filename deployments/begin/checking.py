"""`fugu pool check`: what a worker is, can and costs, and one call that shows that it answers, and how fast."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from deployments.begin.knowledge import Known, fields, known, params
from deployments.local.starting import words_of
from models.errors import FuguError, MissingKey
from models.ledger.providers.breakers import close_breaker
from models.ledger.store import Ledger
from models.workers.ask import Ask, Reply, Sampling
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool, Price, Worker
from models.workers.retry import RetryPolicy
from models.workers.translation import load_litellm
from tasks.setup.settings import local_notes

PING = "Count from 1 to 40 in digits, separated by spaces, and write nothing else."
PING_TOKENS = 256
"""Most tokens of the answer: enough to measure a rate, also after some hidden thoughts."""

ABILITIES = {
    "tools": "tools",
    "images": "images",
    "structured_output": "structured output",
    "reasoning": "reasoning effort",
}


def check(pool: Pool, ledger: Ledger, say: Callable[[str], None], *, ping: bool = True) -> bool:
    """Say some lines about each worker and conductor; returns whether all can be used.

    With `ping` each is asked once with each of its keys, which costs money where it has a price, and one that answers
    is asked again by endpoints and flows that had stopped to (the key's breaker is closed).
    """
    return asyncio.run(_check_all(pool, ledger, say, ping))


async def _check_all(pool: Pool, ledger: Ledger, say: Callable[[str], None], ping: bool) -> bool:
    usable = True
    await asyncio.to_thread(load_litellm)  # takes seconds, which are not the first worker's
    for worker in (*pool.workers, *pool.conductors):
        say(f"{worker.name}: {worker.model}")
        for name, text in _described(worker):
            say(f"  {name:<10}{text}")
        if worker.is_recorded:
            continue
        try:
            worker.check_keys()
        except MissingKey:
            usable = False  # its line is there
            continue
        for key in worker.key_names or ("",) if ping else ():
            said, answers = await _pinged(worker, key, ledger)
            usable &= answers
            say(f"  {'ping':<10}{f'{key} ' if len(worker.key_names) > 1 else ''}{said}")
    return usable


async def _pinged(worker: Worker, key: str, ledger: Ledger) -> tuple[str, bool]:
    """Ask once with the key (its variable, "" where there is none): the line about it, and whether it answered."""
    alone = Pool(name="check", workers=(worker.model_copy(update={"key_env": key or None}),))
    # No breaker: whether a worker answers again is what is asked here.
    dispatcher = Dispatcher(ledger, alone, retry=RetryPolicy(tries=2), breakers=None)
    try:
        said = await _ping(worker, dispatcher)
    except FuguError as error:
        return f"FAILED: {type(error).__name__}: {' '.join(str(error).split())}", False
    finally:
        await dispatcher.close()
    await asyncio.to_thread(close_breaker, ledger, worker.name, key)
    return said, True


def _described(worker: Worker) -> Iterator[tuple[str, str]]:
    """What is known of a worker without asking it."""
    if worker.is_recorded:
        yield "scores", "recorded ones only: it cannot be asked"
        return
    ours = worker.is_house or worker.is_local
    found = Known() if ours else known(worker.model)
    yield "key", _key(worker)
    yield "price", _price(worker, found)
    if worker.is_house:
        yield "abilities", "a program of this project: it reads text and answers with text"
    elif worker.is_local:
        yield "abilities", f"text; {words_of(worker.model, local_notes()) or 'not served: fugu worker serve'}"
    else:
        yield "abilities", _abilities(worker, found)
    yield "limits", _limits(worker, found)
    if ours:
        return
    handled = fields(worker)
    if handled.refused:
        yield "refused", f"{', '.join(handled.refused)}: requests with one of these go to other workers"
    if handled.dropped:
        yield "dropped", f"{', '.join(handled.dropped)}: left out of what is sent"
    if worker.params:
        yield "params", _params(worker)


def _params(worker: Worker) -> str:
    own = params(worker)
    said = (
        dict.fromkeys(own.refused, "REFUSED by litellm")
        | dict.fromkeys(own.dropped, "DROPPED by litellm")
        | dict.fromkeys(own.unknown, "sent as it is, litellm does not know it of this model")
    )
    return ", ".join(f"{name} ({said.get(name, 'sent')})" for name in worker.params)


def _key(worker: Worker) -> str:
    try:
        worker.check_keys()
    except MissingKey as error:
        return f"MISSING: {error}"
    return f"{' and '.join(worker.key_names)} set" if worker.key_names else "none needed"


def _price(worker: Worker, found: Known) -> str:
    price = worker.price
    if price is None or price == Price():
        listed = found.price is not None and found.price != Price()
        return f"free (the map of litellm says {_per_million(found.price)})" if listed and found.price else "free"
    if found.price is None or found.price == price:
        return _per_million(price)
    return f"{_per_million(price)} (the map of litellm says {_per_million(found.price)})"


def _per_million(price: Price) -> str:
    cached = price.cached_input_per_million
    read = "" if cached is None else f" (${cached:g} from a cache)"
    return f"${price.input_per_million:g} in{read}, ${price.output_per_million:g} out per million tokens"


def _abilities(worker: Worker, found: Known) -> str:
    can, unknown = [], []
    for name, words in ABILITIES.items():
        stated = getattr(worker.abilities, name)
        able = getattr(found, name) if stated is None else stated
        if able:
            can.append(words)
        elif able is None:
            unknown.append(words)
    text = ", ".join(["text", *can])
    return f"{text}; not known: {', '.join(unknown)}" if unknown else text


def _limits(worker: Worker, found: Known) -> str:
    limits = worker.limits
    parts = [f"{limits.max_output_tokens:,} tokens a reply", f"{limits.concurrency} calls at once in each process"]
    if found.most is not None and limits.max_output_tokens > found.most:
        parts[0] += f" (MORE than the model's {found.most:,})"
    if context := worker.context or found.context:
        parts.append(f"reads {context:,} tokens")
    if limits.in_flight is not None:
        parts.append(f"{limits.in_flight} in flight")
    if limits.requests_per_minute is not None:
        parts.append(f"{limits.requests_per_minute:g} requests a minute")
    if limits.tokens_per_minute is not None:
        parts.append(f"{limits.tokens_per_minute:g} tokens a minute")
    return ", ".join([*parts, f"{worker.timeouts.total_s:g} s a call"])


@dataclass
class _Watch:
    """Seconds since the ping was sent: of the first text and of the last; how many pieces came."""

    first: float = 0.0
    last: float = 0.0
    pieces: int = 0


async def _ping(worker: Worker, dispatcher: Dispatcher) -> str:
    """Ask once; the line about the answer. Raises FuguError."""
    ask = Ask(
        scope=f"check:{uuid.uuid4()}",
        worker=worker.name,
        revision=worker.revision,
        messages=({"role": "user", "content": PING},),
        sampling=Sampling(max_tokens=PING_TOKENS),
    )
    watch, began, reply = _Watch(), time.monotonic(), None
    async with aclosing(dispatcher.stream(ask)) as chunks:
        async for chunk in chunks:
            if chunk.text:
                watch.last = time.monotonic() - began
                watch.first = watch.first or watch.last
                watch.pieces += 1
            reply = chunk.reply or reply
    assert reply is not None, "a stream's last chunk holds the reply"
    return _answered(reply, watch)


def _answered(reply: Reply, watch: _Watch) -> str:
    tokens = reply.usage.completion_tokens
    streamed = watch.pieces > 2 and watch.last > watch.first
    # From the first text on, where it came in pieces: what was waited for before is another figure.
    seconds = watch.last - watch.first if streamed else reply.seconds
    visible = tokens - (reply.usage.reasoning_tokens or 0) if streamed else tokens
    counted = " (its count of tokens is an estimate)" if reply.usage.estimated else ""
    rate = f"{visible / seconds:,.0f} tokens a second{counted}" if seconds > 0 and visible > 0 else "no text"
    begins = f", first text after {watch.first:.2f} s" if streamed else ", in one piece"
    return f"answered in {reply.seconds:.2f} s{begins}, {rate}, ${reply.cost_usd:.6f}"
