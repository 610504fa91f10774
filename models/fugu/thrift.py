"""The knob between quality and cost: a penalty on the logits of dear workers, in units that a person understands.

A setting is the share of what could be saved: 0 leaves the router as it is, 1 chooses the cheapest worker, and at 0.5
the train questions cost half way between the two. What a logit has to lose for a dollar to come there differs from
router to router and from pool to pool, so it is learned once for each router, on the questions that it was taught.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.fugu.decision import Decision, decisions_on, mask_of
from models.workers.ask import Message

if TYPE_CHECKING:
    from models.fugu.rollout import Decider

FIELD = "fugu.cost_weight"

SETTINGS = 21
"""At so many settings, evenly from 0 to 1, the penalty is known; between two of them it is interpolated."""

HALVINGS = 60
"""Of the interval in which a setting's penalty is searched: to the last digit of a double."""


@dataclass(frozen=True)
class CostKnob:
    """`usd` [L]: a worker's mean cost of a train question. `per_usd` [S]: what a logit loses for a dollar, at evenly
    spaced settings. `points`: settings that have names."""

    usd: Sequence[float]
    per_usd: Sequence[float]
    points: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, meta: Mapping[str, Any] | None) -> CostKnob | None:
        """From a checkpoint's `meta`; `None` where it has none."""
        return None if meta is None else cls(**meta)

    @property
    def meta(self) -> dict[str, Any]:
        """As JSON values."""
        return {"usd": list(self.usd), "per_usd": list(self.per_usd), "points": dict(self.points)}

    def setting(self, wanted: float | str) -> float:
        """The setting of that name, or the number itself. Raises BadInput for an unknown name."""
        if not isinstance(wanted, str):
            return wanted
        if wanted not in self.points:
            known = ", ".join(self.points) or "none"
            raise BadInput(f"{FIELD}: there is no operating point {wanted[:100]!r}; there are: {known}", FIELD)
        return self.points[wanted]

    def penalty(self, setting: float) -> NDArray[np.float32]:
        """What each worker's logit loses [L], for a setting from 0 to 1."""
        each = np.interp(setting, np.linspace(0, 1, len(self.per_usd)), self.per_usd)
        return np.asarray(each * (np.asarray(self.usd) - min(self.usd)), np.float32)


def fit_knob(
    logits: NDArray[np.floating], costs: NDArray[np.floating], points: Mapping[str, float] | None = None
) -> CostKnob:
    """The knob of a router with these logits [Q, L] on train questions; costs [Q, L] in USD, NaN where unknown.

    At each setting the least penalty at which the choices cost no more than that setting allows. The cost is that of
    the workers' means, which no setting can raise: a higher penalty never chooses a dearer worker.
    """
    counts = np.isfinite(costs).sum(axis=0)
    usd = np.where(counts, np.nansum(costs, axis=0) / np.maximum(counts, 1), 0.0)
    free = np.asarray(logits, float)

    def cost(per_usd: float) -> float:
        return float(usd[(free - per_usd * usd).argmax(axis=1)].mean())

    dearest, cheapest = cost(0.0), float(usd.min())
    found = [0.0]
    if dearest > cheapest:
        most = _all_cheapest(free, usd)
        for setting in np.linspace(0, 1, SETTINGS)[1:-1]:
            allowed = dearest - setting * (dearest - cheapest)
            found.append(_least(cost, allowed, found[-1], most))
        found.append(most)
    else:
        found *= SETTINGS
    return CostKnob(usd.tolist(), found, points or {})


def _all_cheapest(logits: NDArray[np.floating], usd: NDArray[np.floating]) -> float:
    """The penalty for a dollar at which every question gets one of the cheapest workers."""
    cheap = usd <= usd.min()
    behind = logits[:, ~cheap] - logits[:, cheap].max(axis=1, keepdims=True)
    # A little more than where they are equal, so that rounding does not decide.
    return 1.001 * float(np.maximum(behind / (usd[~cheap] - usd.min()), 0.0).max(initial=0.0))


def _least(cost: Callable[[float], float], allowed: float, low: float, high: float) -> float:
    if cost(low) <= allowed:
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= allowed else (middle, high)
    return high


class Thrifty:
    """Decides as `router` does, after a penalty [L] on its logits."""

    def __init__(self, router: Decider, penalty: NDArray[np.float32]) -> None:
        self._router, self._penalty = router, penalty
        self.workers, self.roles, self.released = router.workers, router.roles, router.released

    async def decide(self, messages: Sequence[Message], allowed: Sequence[str] | None = None) -> Decision:
        """`Decider.decide`. Margins, and the order of those who take over, are of the penalised logits."""
        found = await self._router.decide(messages, allowed)
        logits = (found.worker_logits - self._penalty)[None]
        [cheaper] = decisions_on(logits, mask_of(allowed, self.workers, 1), self.workers, roles=False)
        return replace(cheaper, role=found.role, role_logits=found.role_logits, seconds=found.seconds)


def thrifty(router: Decider, knob: CostKnob | None, wanted: float | str | None) -> Decider:
    """The router at a setting of its knob. Raises BadInput for a name that it does not have."""
    setting = 0.0 if knob is None or wanted is None else knob.setting(wanted)
    return Thrifty(router, knob.penalty(setting)) if knob is not None and setting else router
