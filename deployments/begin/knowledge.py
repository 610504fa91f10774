"""What litellm knows of a model: price, limits, abilities, and what it does with each field of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.workers.fitting.taking import sees
from models.workers.pool import Price, Worker
from models.workers.translation import load_litellm, translated

_FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}

FIELDS: Mapping[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.9},
    "stop": {"stop": ["x"]},
    "seed": {"seed": 1},
    "presence_penalty": {"presence_penalty": 0.1},
    "frequency_penalty": {"frequency_penalty": 0.1},
    "logit_bias": {"logit_bias": {"1": 1}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "response_format": {"response_format": _FORMAT},
    "reasoning_effort": {"reasoning_effort": "low"},
}
"""Fields of a request that are tried, with the values."""

TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
"""Fields that are only looked up: to translate them, litellm asks some servers (ollama) over the network."""


@dataclass(frozen=True)
class Known:
    """A model in litellm's map; `None` for what the map does not say. `context` and `most`: tokens read and written."""

    price: Price | None = None
    context: int | None = None
    most: int | None = None
    tools: bool | None = None
    images: bool | None = None
    structured_output: bool | None = None
    reasoning: bool | None = None


def known(model: str) -> Known:
    """What litellm's map says of the model; nothing for one that is not in it. Imports litellm (takes seconds)."""
    litellm = load_litellm()
    try:
        found = litellm.get_model_info(model)
    except Exception:  # litellm raises a bare Exception for a model that is not in its map
        return Known(images=sees(model))
    read, written = found.get("input_cost_per_token"), found.get("output_cost_per_token")
    cached, price = found.get("cache_read_input_token_cost"), None
    if read is not None and written is not None:
        price = Price(
            input_per_million=round(read * 1e6, 6),
            output_per_million=round(written * 1e6, 6),
            cached_input_per_million=None if cached is None else round(cached * 1e6, 6),
        )
    return Known(
        price,
        found.get("max_input_tokens"),
        found.get("max_output_tokens"),
        found.get("supports_function_calling"),
        sees(model),
        found.get("supports_response_schema"),
        found.get("supports_reasoning"),
    )


@dataclass(frozen=True)
class Handling:
    """Fields that litellm refuses to send to a model, those that it leaves out silently, and those that it does not
    know of the model and sends as they are."""

    refused: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def fields(worker: Worker) -> Handling:
    """What happens to the fields of a request: with a refused one it is another worker that is asked."""
    supported = load_litellm().get_supported_openai_params(worker.model)
    kinds = {name: _kind(worker.model, name, given) for name, given in FIELDS.items()}
    if supported is not None:
        kinds |= {name: "refused" for name in TOOLS if name not in supported}
        if "seed" not in supported:
            kinds["seed"] = "dropped"  # models/workers/translation.py leaves it out, because it is a wish
    return _handling(kinds)


def params(worker: Worker) -> Handling:
    """What happens to the worker's own `params`."""
    kinds = {}
    for name, value in worker.params.items():
        kinds[name] = _kind(worker.model, name, {name: value})
        if kinds[name] != "sent":  # litellm is told to let them pass (models/workers/translation.py)
            allowed = _kind(worker.model, name, {name: value}, (name,))
            kinds[name] = "unknown" if allowed == "sent" else allowed
    return _handling(kinds)


def _handling(kinds: Mapping[str, str]) -> Handling:
    each = (tuple(n for n, found in kinds.items() if found == kind) for kind in ("refused", "dropped", "unknown"))
    return Handling(*each)


def _kind(model: str, name: str, given: Mapping[str, Any], allowed: tuple[str, ...] = ()) -> str:
    """Whether a field is "sent", "dropped" or "refused": the translation with it beside the one without it."""
    litellm = load_litellm()
    without = {other: value for other, value in given.items() if other != name}
    try:
        before = translated(model, without, allowed)
        return "dropped" if translated(model, given, allowed) == before else "sent"
    except litellm.UnsupportedParamsError:
        return "refused"
    except Exception:  # the call itself will report any other error
        return "sent"
