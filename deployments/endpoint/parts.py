"""The parts and options of an endpoint; `open_parts` makes the parts from the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from deployments.doors import OWN, Allowed
from deployments.endpoint.answer.aliases import Aliases
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.connections import Patience
from deployments.endpoint.pages.sight import Sees, by_key
from models.conductor.plan.workflow import PlanLimits
from models.conductor.run.request import Limits
from models.errors import NotFound
from models.fugu.thrift import CostKnob
from models.ledger import registry
from models.ledger.store import Ledger
from models.workers.dispatch import Dispatcher
from models.workers.pool import Pool
from models.workers.retry import RetryPolicy
from models.workers.translation import load_litellm, needs_litellm

if TYPE_CHECKING:
    from models.conductor.plan.writers import PlanWriter
    from models.fugu.microbatch import MicroBatcher
    from models.fugu.rollout import Decider


def no_conductor() -> tuple[PlanWriter, Mapping[str, str]]:
    """`Parts.open_conductor` of an endpoint without `fugu-ultra`."""
    raise NotFound("this endpoint has no conductor")


@dataclass(frozen=True)
class Parts:
    """`load_router`: a checkpoint's id -> its router; called in a thread.

    `open_conductor` gives the plan writer of `fugu-ultra` and each worker's card; called in a thread, too. `plan`: the
    limits of a plan.
    """

    ledger: Ledger
    pool: Pool
    dispatcher: Dispatcher
    load_router: Callable[[str], Decider]
    open_conductor: Callable[[], tuple[PlanWriter, Mapping[str, str]]] = no_conductor
    plan: PlanLimits = PlanLimits()  # noqa: RUF009 - a frozen value

    def knob_of(self, checkpoint: str) -> CostKnob | None:
        """The knob of a checkpoint's router, if one was learned."""
        return CostKnob.of(registry.load_checkpoint(self.ledger, checkpoint).meta.get("cost"))

    def warm(self) -> None:
        """Slow imports, run before ready, where a worker needs them."""
        if any(map(needs_litellm, (*self.pool.workers, *self.pool.conductors))):
            load_litellm()


@dataclass(frozen=True)
class Options:
    """Seconds, bytes and turns. `limits`: of a conducted request that sets none itself; `tools_s`: how long it waits
    for its client's tools. `observe`: whether Prefect shows conducted requests, where PREFECT_API_URL names a server;
    `shown`: how many of their flow runs may begin concurrently. With one, 40 of them are final 6 to 9 s after the last
    answer; with four, a third of the requests to a Prefect server on SQLite fail and are sent again, and now and then
    it blocks for a minute. `keep_margin`: by how much a router has to prefer another worker for a conversation
    to change. `first_s`: when a stream of a model that takes its time begins. `allowed`: hosts and origins beside its
    own. `max_requests`: under way at most; more are refused. `eager`: whether what only conducted requests need is
    loaded at the start, instead of with the first of them. `aliases`: other names of the models. `needs_key`: also
    while the home has no key; `secret`: the home's, by which its owner asks. `counts`: whether requests count for their
    keys' rates here. `freezes`: whether garbage collections leave out what has been loaded, for a process that does
    nothing else. `sees`: what a visitor of the endpoint's own pages may see.
    """

    poll_s: float = 1.0
    heartbeat_s: float = 10.0
    first_s: float = 0.8
    body_s: float = 60.0
    max_body_bytes: int = 32 * 2**20
    bounds: Bounds = Bounds()  # noqa: RUF009 - a frozen value
    patience: Patience = Patience()  # noqa: RUF009 - a frozen value
    max_requests: int = 512
    turns: int = 5
    allowed: Allowed = OWN
    limits: Limits = Limits(max_usd=None, max_calls=64, max_seconds=3600.0, depth=1)  # noqa: RUF009 - a frozen value
    tools_s: float = 24 * 3600.0
    observe: bool = True
    shown: int = 1
    keep_margin: float = 1.0
    eager: bool = True
    aliases: Aliases = ()
    needs_key: bool = False
    secret: str | None = None
    counts: bool = True
    freezes: bool = False
    sees: Sees = by_key


DEFAULT = Options()

SERVING = RetryPolicy(tries=3, base_s=0.2, cap_s=2.0, patience_s=2.0, open_s=0.0, pace_s=5.0)
"""A client waits: instead of a worker that asks to wait longer than `patience_s`, another one is asked."""

CONDUCTING = RetryPolicy(tries=3, base_s=0.2, cap_s=4.0, patience_s=10.0, open_s=0.0, pace_s=5.0)
"""Of a step: a worker that asks to wait longer is passed over, and another one gets the step."""


ROUTERS = 4
"""Routers that are kept: of two models, a challenger's, and one that a request began with before a promotion."""


def open_parts(load_router: Callable[[str], Decider] | None = None) -> Parts:
    """The ledger, the pool, the routers and the conductor of this process's settings.

    `load_router`: gives the router of a checkpoint, where this process must not load it.
    """
    from tasks.setup.conductor import cards, open_policy, plan_limits
    from tasks.setup.router import serving_router
    from tasks.setup.session import open_dispatcher
    from tasks.setup.settings import open_ledger, open_pool, settings

    ledger, pool = open_ledger(), open_pool()
    dispatcher = open_dispatcher(ledger, pool, SERVING)

    @lru_cache(maxsize=ROUTERS)
    def load(checkpoint: str) -> MicroBatcher:
        from models.fugu.microbatch import MicroBatcher

        return MicroBatcher(serving_router(registry.load_checkpoint(ledger, checkpoint), ledger))

    def open_conductor() -> tuple[PlanWriter, Mapping[str, str]]:
        return open_policy(settings().conductor, ledger, pool), cards(ledger, pool)

    return Parts(ledger, pool, dispatcher, load_router or load, open_conductor=open_conductor, plan=plan_limits())
