"""Which workers may answer a request: allowed by the caller, askable now, and able to honour its fields."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

from deployments.endpoint.request import ChatRequest
from models.errors import BadInput, NoWorkerAllowed
from models.workers.client import load_litellm
from models.workers.pool import Pool, Worker

ALLOWED = "fugu.allowed_workers"

_BEYOND_HOUSE = frozenset({"tools", "tool_choice", "parallel_tool_calls", "response_format", "logit_bias", "messages"})
"""What the house's workers cannot honour: they are programs that read text. `messages`: images in them."""

_WISHES = frozenset({"seed"})
"""Fields that no worker is passed over for."""


def is_askable(worker: Worker) -> bool:
    """Whether a live call could be made: not a recorded worker, and its key is there."""
    return not worker.is_recorded and (worker.key_env is None or bool(os.environ.get(worker.key_env, "").strip()))


def candidates(pool: Pool, chat: ChatRequest, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The workers that may answer, in the pool's order.

    Raises BadInput for a name that the pool lacks and for the field that leaves no worker.
    """
    for name in wanted or ():
        if name not in pool.names:
            raise BadInput(f"there is no worker {name!r}", ALLOWED)
    left = [worker for worker in pool.workers if is_askable(worker) and (wanted is None or worker.name in wanted)]
    if not left:
        raise NoWorkerAllowed("none of the allowed workers can be asked", ALLOWED)
    for field in _demands(chat):
        left = [worker for worker in left if _honours(worker, field)]
        if not left:
            raise BadInput(f"no worker here can honour {field}", field)
    return tuple(worker.name for worker in left)


def _demands(chat: ChatRequest) -> list[str]:
    """The fields of a request that a worker might be unable to honour."""
    demands = [name for name in chat.sampling().fields() if name not in _WISHES]
    if (chat.response_format or {}).get("type") == "text":
        demands.remove("response_format")
    return [*demands, "messages"] if chat.has_images else demands


def _honours(worker: Worker, field: str) -> bool:
    if worker.is_house:
        return field not in _BEYOND_HOUSE
    known = _supported(worker.model)
    # Whether a model sees images is known of few; its provider will say.
    return field == "messages" or known is None or field in known


@cache
def _supported(model: str) -> frozenset[str] | None:
    """The fields that litellm translates for a model; it refuses the others itself."""
    known = load_litellm().get_supported_openai_params(model)
    return None if known is None else frozenset(known) | {"max_tokens"}
