"""A request fitted to one worker: what its model has no field for is said in the prompt, or left out with a note."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from models.workers.ask import Ask, Sampling
from models.workers.fitting.formats import asked_for, schema_of, with_words
from models.workers.fitting.marks import unmarked
from models.workers.fitting.taking import EFFORTS, effort_for, keeps_schemas, takes, takes_top_k
from models.workers.translation import load_litellm
from models.workers.worker import Worker

FITTED = ("response_format", "reasoning_effort", "top_k")
"""The fields that are fitted."""


@dataclass(frozen=True)
class Fit:
    """`sampling`: as the worker gets it. `words`: what its prompt says of the format. `notes`: one sentence each."""

    sampling: Sampling
    words: str | None = None
    notes: tuple[str, ...] = ()


def fit(worker: Worker, sampling: Sampling) -> Fit:
    """How the worker gets the sampling. Imports litellm (takes seconds) where there is something to fit."""
    if worker.is_house or all(getattr(sampling, name) is None for name in FITTED):
        return Fit(sampling)
    changes: dict[str, str | None] = {}
    notes, words = [], None
    if sampling.top_k is not None and not takes_top_k(worker):
        changes["top_k"] = None
        notes.append(f"{worker.name} is not known to take top_k: it was left out.")
    if sampling.response_format is not None and not has_mode(worker, sampling):
        changes["response_format"] = None
        if schema_of(sampling) is not None:
            words = asked_for(sampling)
            notes.append(f"{worker.name} has no such response_format: the prompt asks for it.")
    wanted = sampling.reasoning_effort
    if wanted is not None and (effort := _effort(worker, wanted)) != wanted:
        changes["reasoning_effort"] = effort
        put = "it was left out" if effort is None else f"it gets {effort!r}"
        notes.append(f"{worker.name} takes no reasoning_effort {wanted!r}: {put}.")
    return Fit(sampling.model_copy(update=changes) if changes else sampling, words, tuple(notes))


async def fitted(worker: Worker, ask: Ask) -> Ask:
    """The ask as it is sent to the worker."""
    if worker.is_house:
        return ask  # a program, which needs no litellm: its import takes seconds
    if not load_litellm.cache_info().currsize:
        await asyncio.to_thread(load_litellm)
    ask = unmarked(worker, ask)
    found = fit(worker, ask.sampling)
    if found.sampling is ask.sampling:
        return ask
    messages = ask.messages if found.words is None else with_words(ask.messages, found.words)
    return ask.model_copy(update={"sampling": found.sampling, "messages": messages})


def has_mode(worker: Worker, sampling: Sampling) -> bool:
    """Whether the worker's provider itself keeps replies to the format that is asked for."""
    form = sampling.response_format
    if form is None or worker.is_house:
        return True
    said = worker.abilities.structured_output
    if said is not None:
        return said
    return takes(worker, "response_format") and (form["type"] != "json_schema" or keeps_schemas(worker.model))


def _effort(worker: Worker, wanted: str) -> str | None:
    if worker.abilities.reasoning is False or worker.is_local:
        return None
    if worker.abilities.reasoning and not takes(worker, "reasoning_effort"):
        return wanted  # the pool knows better
    return effort_for(worker.model, wanted) if wanted in EFFORTS else wanted
