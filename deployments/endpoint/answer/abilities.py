"""Which workers may answer a request: allowed by the caller, askable now, and able to honour its fields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from cachetools import LRUCache, cached

from deployments.endpoint.answer.question import TOOL_FIELDS, Question
from models.digest import json_digest
from models.errors import BadInput, NoWorkerAllowed
from models.house import provider
from models.workers.ask import fewest_tokens
from models.workers.local import FIELDS as LOCAL_FIELDS
from models.workers.pool import Pool, Worker
from models.workers.translation import load_litellm, translated

ALLOWED = "fugu.allowed_workers"

_ABILITY = {
    **dict.fromkeys(TOOL_FIELDS, "tools"),
    "messages": "images",
    "response_format": "structured_output",
    "reasoning_effort": "reasoning",
}
"""The field of a request -> what the pool says of a worker's ability, where it says anything."""

_WISHES = frozenset({"seed"})
"""Fields that no worker is passed over for."""

_REMEMBERED = 4096
"""Cached dry runs. One takes some 0.5 ms, and clients send the same few settings again and again."""


def candidates(pool: Pool, question: Question, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The workers that may answer, in the pool's order.

    Raises BadInput for a name that the pool lacks and for the field that leaves no worker.
    """
    for name in wanted or ():
        if name not in pool.names:
            raise BadInput(f"there is no worker {name!r}", ALLOWED)
    left = [worker for worker in pool.workers if worker.is_askable and (wanted is None or worker.name in wanted)]
    if not left:
        raise NoWorkerAllowed("none of the allowed workers can be asked", ALLOWED)
    for field in _demands(question):
        left = [worker for worker in left if _honours(worker, field)]
        if not left:
            raise BadInput(f"no worker here can honour {field}", field)
    left = _roomy(left, question)
    unfit = _unfit(left, question)
    if unfit and len(unfit) == len(left):
        field, why = unfit[left[0].name]
        raise BadInput(f"no worker here can honour {field} as it is given{why and f': {why}'}", field)
    return tuple(worker.name for worker in left if worker.name not in unfit)


def _roomy(workers: Sequence[Worker], question: Question) -> list[Worker]:
    """The workers whose `context` the prompt and the asked output may fit. Raises BadInput where none is left."""
    if all(worker.context is None for worker in workers):
        return list(workers)
    prompt, wanted = fewest_tokens(question.messages), question.sampling.max_tokens
    needed = {worker.name: prompt + (1 if wanted is None else worker.output_tokens(wanted)) for worker in workers}
    left = [worker for worker in workers if worker.context is None or needed[worker.name] <= worker.context]
    if not left:
        asked = "an answer" if wanted is None else f"an answer of {wanted:,} tokens"
        most = max(worker.context or 0 for worker in workers)
        message = f"messages have at least {prompt:,} tokens, and no worker here reads that many with {asked}"
        raise BadInput(f"{message}: the most is {most:,}", "messages")
    return left


def _demands(question: Question) -> list[str]:
    """The fields of a request that a worker might be unable to honour."""
    demands = [name for name in question.sampling.fields() if name not in _WISHES]
    if question.sampling.response_format is not None and question.sampling.response_format["type"] == "text":
        demands.remove("response_format")
    return [*demands, "messages"] if question.has_images else demands


def _honours(worker: Worker, field: str) -> bool:
    said = getattr(worker.abilities, _ABILITY.get(field, ""), None)
    if said is not None:
        return bool(said)
    if worker.is_house:
        return field != "messages" and provider.honours(worker.model, field)  # programs see no images
    if worker.is_local:
        return field in LOCAL_FIELDS
    known = _supported(worker.model)
    # For few models it is known whether they read images; the provider refuses them otherwise.
    return field == "messages" or known is None or field in known


def _unfit(workers: Sequence[Worker], question: Question) -> dict[str, tuple[str, str]]:
    """Workers that take a field but not its value: the worker's name -> the field's, and why ("" if not known)."""
    # For tools the field alone is checked: translating them may query a provider over the network (ollama).
    skipped = _WISHES.union(TOOL_FIELDS)
    given = question.sampling.fields()
    fields = {name: value for name, value in given.items() if name not in skipped}
    key = json_digest(fields) if fields else ""
    found = {}
    for worker in workers:
        if worker.is_house:  # a program says at once what it would refuse
            refusal = provider.refused(worker.model, question.messages, given)
            if refusal is not None:
                found[worker.name] = str(refusal.field), str(refusal)
        elif fields and not worker.is_local and (field := _refused(worker.model, key, fields)) is not None:
            found[worker.name] = field, ""
    return found


@cached(LRUCache(_REMEMBERED), key=lambda model, key, fields: (model, key))
def _refused(model: str, key: str, fields: dict[str, Any]) -> str | None:
    """A field whose value litellm refuses for a model; `None` where it takes them all. `key`: the fields' digest.

    Values are tried together, as one may allow another, so the field is one of a smallest refused set.
    """
    if _translates(model, fields):
        return None
    refused = dict(fields)
    for name in fields:
        without = {other: value for other, value in refused.items() if other != name}
        if without and not _translates(model, without):
            refused = without
    return next(iter(refused))


def _translates(model: str, fields: dict[str, Any]) -> bool:
    """Whether litellm can translate the fields into a provider's request. Nothing is sent."""
    try:
        translated(model, fields)
    except load_litellm().UnsupportedParamsError:
        return False
    except Exception:  # the call itself will report any other error
        return True
    return True


@cache
def _supported(model: str) -> frozenset[str] | None:
    """The fields that litellm translates for a model; it refuses the others itself."""
    known = load_litellm().get_supported_openai_params(model)
    return None if known is None else frozenset(known) | {"max_tokens"}
