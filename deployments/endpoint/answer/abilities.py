"""Which workers may answer a request: allowed by the caller, askable now, and able to honour its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cachetools import LRUCache, cached

from deployments.endpoint.access.workers import permitted
from deployments.endpoint.answer.question import TOOL_FIELDS, Question
from models.digest import json_digest
from models.errors import BadInput, NoWorkerAllowed
from models.house import provider
from models.workers.ask import fewest_tokens
from models.workers.fitting import formats
from models.workers.fitting.fit import fit
from models.workers.fitting.taking import most_stops, reads, takes, translates
from models.workers.pool import Pool, Worker

ALLOWED = "fugu.allowed_workers"

_WISHES = frozenset({"seed", "top_k", "reasoning_effort", "response_format"})
"""Fields that no worker is passed over for: a seed is left out, the others are fitted to the worker. The house's
programs are not asked in words: of them only those that can are asked for a format."""

_REMEMBERED = 4096
"""Cached dry runs. One takes some 0.5 ms, and clients send the same few settings again and again."""


def candidates(pool: Pool, question: Question, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The workers that may answer, in the pool's order.

    Raises BadInput for a name that the pool lacks and for the field that leaves no worker, Problem 403 where the
    caller's key leaves none.
    """
    for name in wanted or ():
        if name not in pool.names:
            raise BadInput(f"there is no worker {name!r}", ALLOWED)
    left = [worker for worker in permitted(pool, question.caller, wanted) if worker.is_askable]
    if not left:
        raise NoWorkerAllowed("none of the allowed workers can be asked", ALLOWED)
    formats.check(question.sampling)
    for kind in sorted(question.kinds):
        left = [worker for worker in left if not worker.is_house and reads(worker, kind)]
        if not left:
            raise BadInput(f"no worker here reads {kind}", "messages")
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
    demands = list(question.sampling.fields())
    if formats.schema_of(question.sampling) is None and "response_format" in demands:
        demands.remove("response_format")
    if not any(tool["type"] == "function" for tool in question.sampling.tools or ()):
        # Tools of providers are wishes: who does not take them is asked without.
        demands = [name for name in demands if name not in TOOL_FIELDS]
    return demands


def _honours(worker: Worker, field: str) -> bool:
    if worker.is_house:
        return provider.honours(worker.model, field)
    if field in _WISHES:
        return True
    if field in TOOL_FIELDS and worker.abilities.tools is not None:
        return worker.abilities.tools
    return takes(worker, field)


def _unfit(workers: Sequence[Worker], question: Question) -> dict[str, tuple[str, str]]:
    """Workers that take a field but not its value: the worker's name -> the field's, and why ("" if not known)."""
    # For tools the field alone is checked: translating them may query a provider over the network (ollama).
    skipped, sampling = {"seed", *TOOL_FIELDS}, question.sampling
    own = sampling.fields()
    asked = not skipped.issuperset(own)
    found = {}
    for worker in workers:
        if worker.is_house:  # a program says at once what it would refuse
            refusal = provider.refused(worker.model, question.messages, own)
            if refusal is not None:
                found[worker.name] = str(refusal.field), str(refusal)
        elif isinstance(stops := sampling.stop, tuple) and len(stops) > (most := most_stops(worker)):
            found[worker.name] = "stop", f"at most {most} stops"
        elif asked and not worker.is_local:
            fitting = fit(worker, sampling).sampling
            given = own if fitting is sampling else fitting.fields()
            fields = {name: value for name, value in given.items() if name not in skipped}
            if fields and (field := _refused(worker.model, json_digest(fields), fields)) is not None:
                found[worker.name] = field, ""
    return found


@cached(LRUCache(_REMEMBERED), key=lambda model, key, fields: (model, key))
def _refused(model: str, key: str, fields: Mapping[str, Any]) -> str | None:
    """A field whose value litellm refuses for a model; `None` where it takes them all. `key`: the fields' digest.

    Values are tried together, as one may allow another, so the field is one of a smallest refused set.
    """
    if translates(model, dict(fields)):
        return None
    refused = dict(fields)
    for name in fields:
        without = {other: value for other, value in refused.items() if other != name}
        if without and not translates(model, without):
            refused = without
    return next(iter(refused))
