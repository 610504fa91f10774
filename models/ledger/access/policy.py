"""What an API key may do: scopes, workers, money and rates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.ledger.budgets import MOST_USD

Scope = Literal["chat", "trace", "admin"]
"""`chat`: ask. `trace`: see who answers, and the work behind an answer. `admin`: change something."""

SCOPES: tuple[Scope, ...] = ("chat", "trace", "admin")

Usd = Annotated[float, Field(ge=0, le=MOST_USD)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Names = tuple[str, ...]


class Policy(BaseModel):
    """A key's policy. `None` and an empty tuple are no limit.

    Workers are allowed by name, vendor and region where such a list is given, unless they are denied; a worker whose
    vendor or region the pool does not say is in no list. `local_only`: only workers whose models run here.

    Of each request, as its default and its ceiling: `max_usd`, `max_calls`, `max_seconds`. Of all requests:
    `total_usd`, and `month_usd` and `day_usd` in UTC. `on_exceeded`: what follows where a call's worst case does not
    fit one of these amounts: the request is refused, or the cheapest allowed worker is asked instead. `in_flight`:
    requests at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scopes: tuple[Scope, ...] = ("chat",)
    workers: Names = ()
    denied_workers: Names = ()
    vendors: Names = ()
    denied_vendors: Names = ()
    regions: Names = ()
    denied_regions: Names = ()
    local_only: bool = False
    max_usd: Usd | None = None
    max_calls: Count | None = None
    max_seconds: float | None = Field(None, gt=0, le=86_400)
    total_usd: Usd | None = None
    month_usd: Usd | None = None
    day_usd: Usd | None = None
    on_exceeded: Literal["refuse", "cheapest"] = "refuse"
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    in_flight: Count | None = None

    @property
    def has_rates(self) -> bool:
        return any(each is not None for each in (self.requests_per_minute, self.tokens_per_minute, self.in_flight))
