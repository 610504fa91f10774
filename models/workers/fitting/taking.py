"""Which fields of a request a worker takes: as the pool says, or as litellm knows of its model."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from models.workers.local import FIELDS as LOCAL_FIELDS
from models.workers.translation import load_litellm, translated
from models.workers.worker import Worker

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""From the least to the most."""

OPENAI = "api.openai.com"

_WITH_TOP_K = frozenset(
    {
        "anthropic",
        "bedrock",
        "vertex_ai",
        "gemini",
        "hosted_vllm",
        "ollama",
        "ollama_chat",
        "openrouter",
        "together_ai",
        "fireworks_ai",
    }
)
"""Providers that take it."""


def takes(worker: Worker, field: str) -> bool:
    """Whether a field reaches the worker's model. Not of house workers, which say themselves what they honour.

    A model that litellm does not know is taken to know the field: its provider would refuse it otherwise.
    """
    if worker.is_local:
        return field in LOCAL_FIELDS
    known = _supported(worker.model)
    return known is None or field in known


def takes_top_k(worker: Worker) -> bool:
    """Whether the worker is known to take `top_k`, which is not in OpenAI's protocol."""
    return worker.is_local or worker.model.partition("/")[0] in _WITH_TOP_K


def most_stops(worker: Worker) -> int:
    """How many stops the worker takes: four, as OpenAI documents, where it is OpenAI's, else as many as one likes."""
    provider, address = worker.model.partition("/")[0], worker.api_base or f"https://{OPENAI}"
    return 4 if provider == "azure" or (provider == "openai" and urlsplit(address).hostname == OPENAI) else 1 << 20


@cache
def _supported(model: str) -> frozenset[str] | None:
    """The fields that litellm translates for a model; it refuses the others itself."""
    known = load_litellm().get_supported_openai_params(model)
    return None if known is None else frozenset(known) | {"max_tokens"}


def translates(model: str, fields: dict[str, Any]) -> bool:
    """Whether litellm can translate the fields into a provider's request. Nothing is sent."""
    try:
        translated(model, fields)
    except load_litellm().UnsupportedParamsError:
        return False
    except Exception:  # the call itself will report any other error
        return True
    return True


def reads(worker: Worker, kind: str) -> bool:
    """Whether the worker reads parts of a kind: `images`, `audio`, `files`. Where nobody knows, it is tried."""
    said = getattr(worker.abilities, kind)
    if said is not None:
        return bool(said)
    return not worker.is_local and _reads(worker.model, kind)


@cache
def _reads(model: str, kind: str) -> bool:
    if kind == "images":
        return sees(model) is not False
    litellm = load_litellm()
    asked = litellm.supports_audio_input if kind == "audio" else litellm.utils.supports_pdf_input
    return not knows(model) or bool(asked(model))


@cache
def sees(model: str) -> bool | None:
    """Whether the model reads images, as litellm's map says; `None` for one that is not in it under its provider.

    An alias at an address of one's own may be called as another provider's model is.
    """
    entries = load_litellm().model_cost  # its own look-ups ask some servers (ollama) over the network
    provider, _, name = model.partition("/")
    found = entries.get(model) or entries.get(name)
    if found is None or not (model in entries or str(found.get("litellm_provider")).startswith(provider)):
        return None
    return bool(found.get("supports_vision"))


@cache
def knows(model: str) -> bool:
    """Whether litellm has figures of the model."""
    litellm = load_litellm()
    return model in litellm.model_cost or model.partition("/")[2] in litellm.model_cost


@cache
def keeps_schemas(model: str) -> bool:
    """Whether the model's provider holds its replies to a JSON schema, as far as litellm knows."""
    return not knows(model) or bool(load_litellm().supports_response_schema(model=model))


@cache
def effort_for(model: str, wanted: str) -> str | None:
    """The nearest effort that the model takes, of two equally near ones the smaller; `None`: it takes none at all."""
    known = _supported(model)
    if known is not None and "reasoning_effort" not in known:
        return None
    taken = [effort for effort in EFFORTS if translates(model, {"reasoning_effort": effort})]
    if "xhigh" not in taken and "high" in taken and "max" in taken:
        taken.remove("max")  # litellm passes it on to models whose most it knows to be less
    place = EFFORTS.index(wanted)
    return min(taken, key=lambda effort: abs(EFFORTS.index(effort) - place), default=None)
