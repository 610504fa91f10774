"""The champion of each model name: read from the registry, loaded in a thread, replaced between two requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cachetools import LRUCache

from deployments.endpoint.answer.question import LEAST_DIGITS, is_pin_of, pin_of
from deployments.endpoint.wire.problems import unknown_version
from models.errors import BadInput, LedgerAway, NotFound
from models.fugu.thrift import CostKnob, thrifty
from models.ledger.registry import Champion
from models.workers.pool import Pool

if TYPE_CHECKING:
    from models.fugu.rollout import Decider

log = logging.getLogger(__name__)

KEPT = 2
"""Replaced champions that are kept loaded."""

RETRY_S = 30.0
"""Pause before a champion that could not be loaded is tried again."""


def nothing_promoted(model: str, digest: str) -> Champion:
    """`Champions.promoted` of a process that keeps no history."""
    raise NotFound("nothing was promoted here")


@dataclass(frozen=True)
class Seat:
    """The loaded champion of one model name: a router with its knob between quality and cost, if it has one, or the
    worker that answers everything."""

    champion: Champion
    router: Decider | None = None
    worker: str | None = None
    knob: CostKnob | None = None

    def thrifty(self, wanted: float | str | None) -> Decider:
        """The router at a setting of its knob. Raises BadInput for a name that it does not have."""
        assert self.router is not None
        return thrifty(self.router, self.knob, wanted)

    @property
    def pin(self) -> str:
        """The name by which exactly this version is asked for."""
        return pin_of(self.champion.model, self.champion.digest)


class Seats(Protocol):
    """The champions by model name."""

    names: tuple[str, ...]

    def seat(self, name: str) -> Seat | None: ...

    async def pinned(self, name: str, pin: str) -> Seat:
        """The version of a model whose digest begins with `pin`. Raises Problem 404, 503."""


class Champions:
    """Loaded champions by model name. A request keeps the one that it began with, whatever is promoted meanwhile."""

    def __init__(
        self,
        names: tuple[str, ...],
        pool: Pool,
        read: Callable[[str], Champion | None],
        load_router: Callable[[str], Decider],
        promoted: Callable[[str, str], Champion] = nothing_promoted,
        knob_of: Callable[[str], CostKnob | None] = lambda checkpoint: None,
    ) -> None:
        """`promoted`: a model's name and the beginning of a digest -> that champion; raises NotFound. `knob_of`: a
        checkpoint's id -> its knob."""
        self.names, self._pool, self._read, self._load_router = names, pool, read, load_router
        self._knob_of = knob_of
        self._promoted, self._old, self._loading = promoted, LRUCache[str, Seat](KEPT), asyncio.Lock()
        self._seats: dict[str, Seat] = {}
        self._failed: dict[tuple[str, int], float] = {}
        self._reading = True

    def seat(self, name: str) -> Seat | None:
        return self._seats.get(name)

    async def pinned(self, name: str, pin: str) -> Seat:
        """The champion that serves, where it is this one, else one that was replaced, loaded for whoever asks."""
        seat = self._seats.get(name)
        serving = None if seat is None else seat.pin
        if seat is not None and is_pin_of(seat.champion.digest, pin):
            return seat
        try:
            if len(pin) < LEAST_DIGITS:
                raise NotFound(f"a version is at least {LEAST_DIGITS} digits")
            champion = await asyncio.to_thread(self._promoted, name, pin)
        except NotFound as error:
            raise unknown_version(f"{name}@{pin}", str(error), serving) from None
        exact = pin_of(name, champion.digest)
        async with self._loading:
            if exact not in self._old:
                try:
                    self._old[exact] = await self._load(champion)
                except Exception as error:
                    log.error("%s cannot serve: %s", exact, error)
                    raise unknown_version(exact, "it can no longer be loaded", serving) from None
            return self._old[exact]

    @property
    def complete(self) -> bool:
        return all(name in self._seats for name in self.names)

    async def watch(self, every_s: float) -> None:
        """Follow the registry until cancelled: one read in `every_s` seconds."""
        while True:
            await self.refresh()
            await asyncio.sleep(every_s)

    async def refresh(self) -> None:
        """Read the registry once and load what was promoted. Where that fails, the old champions stay."""
        try:
            found = await asyncio.to_thread(lambda: [self._read(name) for name in self.names])
        except Exception as error:
            if self._reading:
                log.error("the registry cannot be read: %s", str(error).partition("\n")[0])
            self._reading = False
            return
        self._reading = True
        for champion in found:
            if champion is not None and self._is_new(champion):
                await self._promote(champion)

    def _is_new(self, champion: Champion) -> bool:
        seat = self._seats.get(champion.model)
        if seat is not None and seat.champion.version == champion.version:
            return False
        return time.monotonic() >= self._failed.get((champion.model, champion.version), 0.0)

    async def _promote(self, champion: Champion) -> None:
        try:
            seat = await self._load(champion)
        except Exception as error:
            if not isinstance(error, LedgerAway):
                self._failed[champion.model, champion.version] = time.monotonic() + RETRY_S
            log.error("champion %d of %s cannot serve: %s", champion.version, champion.model, error)
            return
        self._seats[champion.model] = seat
        log.info("champion %d of %s serves: %s", champion.version, champion.model, champion.target)

    async def _load(self, champion: Champion) -> Seat:
        target = champion.target
        if target["kind"] == "worker":
            if self._pool.worker(target["worker"]).is_recorded:
                raise BadInput(f"the worker {target['worker']!r} is known from recorded scores only")
            return Seat(champion, worker=target["worker"])
        # Both models are usually served by one checkpoint, which is loaded once.
        for seat in self._seats.values():
            if seat.router is not None and seat.champion.target == target:
                return Seat(champion, router=seat.router, knob=seat.knob)
        router = await asyncio.to_thread(self._load_router, target["checkpoint"])
        # Workers are asked by name, so a router of a larger or differently ordered pool serves as well.
        if not set(router.workers) & set(self._pool.names):
            raise NotFound("the router knows none of the pool's workers")
        # The first forward pass includes lazy set-up, which no request should wait for.
        await router.decide([{"role": "user", "content": "ready"}])
        return Seat(champion, router=router, knob=await asyncio.to_thread(self._knob_of, target["checkpoint"]))
