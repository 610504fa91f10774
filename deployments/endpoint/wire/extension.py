"""The field `fugu` of a request, this endpoint's own, the same in every wire format."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from deployments.endpoint.wire.messages import whole
from models.conductor.run.request import MAX_DEPTH, Limits
from models.errors import BadInput


class Extension(BaseModel):
    """This endpoint's own field, `fugu`. `failover`: whether another worker is asked where one fails.

    `conversation`: the name of the conversation, whose worker stays and whose memory is shared. The others are of
    conducted requests: their limits, and how they plan. `cost_weight`: which share of what could be saved on workers is
    to be saved, or the name of such an operating point. `shuffle`: the seed by which the workers' ordinals are
    permuted, for a conductor that reads cards. `show_work`: show plan, steps and reasoning beside the answer.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)  # a default, which is not copied then

    allowed_workers: list[str] | None = Field(None, min_length=1)
    failover: bool = True
    show_work: bool = False
    cost_weight: Annotated[float, Field(ge=0, le=1)] | Annotated[str, Field(min_length=1, max_length=100)] | None = None
    max_usd: float | None = Field(None, ge=0)
    max_calls: int | None = Field(None, ge=1)
    max_seconds: float | None = Field(None, gt=0)
    depth: int | None = Field(None, ge=0, le=MAX_DEPTH)
    recursive: bool | None = None
    shuffle: int | None = Field(None, ge=0, lt=2**63)
    conversation: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[ -~]+$")

    _whole = field_validator("max_calls", "depth", "shuffle", mode="before")(whole)

    def limits(self, default: Limits) -> Limits:
        """The limits of this request; those that it does not set are `default`'s. Raises BadInput."""
        own = {name: value for name in Limits.model_fields if (value := getattr(self, name)) is not None}
        limits = default.model_copy(update=own)
        if self.recursive and not limits.depth:
            raise BadInput("fugu.recursive needs a fugu.depth of at least 1", "fugu.depth")
        return limits
