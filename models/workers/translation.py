"""Translation of asks into request fields by litellm: which fields a worker takes, and in which form."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache, lru_cache
from typing import Any

import httpx

from models.errors import BadInput, RecordedWorker
from models.workers.ask import Ask
from models.workers.pool import Pool, Worker

PROVIDERS = frozenset({"openai", "custom_openai", "hosted_vllm"})
"""litellm's names of providers that speak OpenAI's protocol unchanged, at an address given in the pool."""

Program = Callable[[Worker, Mapping[str, Any], bool], list[dict[str, Any]]]
"""A worker, a call's fields, whether it is streamed -> the whole reply, or the stream's events, in OpenAI's format.
Raises FuguError."""

_PROGRAMS: dict[str, Program] = {}


def provide(provider: str, program: Program) -> None:
    """Let a program of this process answer for a provider's models, in place of litellm."""
    _PROGRAMS[provider] = program


def program_of(worker: Worker) -> Program | None:
    """The program that answers for the worker, if one does."""
    return _PROGRAMS.get(worker.model.partition("/")[0])


def needs_litellm(worker: Worker) -> bool:
    """Whether a call to the worker takes litellm."""
    return not (worker.is_recorded or worker.is_house)


async def prepared(worker: Worker, ask: Ask, key: str | None = None) -> tuple[Any, dict[str, Any]]:
    """litellm, imported on first use (takes seconds) off the event loop, and the fields to send. `key`: the variable
    that holds the key (default: the worker's first). For a worker that a program answers for, litellm is `None`."""
    fields = _fields(worker, ask, key)
    if program_of(worker) is not None:
        return None, fields
    litellm = load_litellm() if load_litellm.cache_info().currsize else await asyncio.to_thread(load_litellm)
    if "seed" in fields and not _takes_seed(worker.model):
        del fields["seed"]
    return litellm, fields


@cache
def load_litellm() -> Any:
    """litellm, configured to fetch nothing on import, and to print and report nothing."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import fetches a file from the network
    collects = gc.isenabled()
    gc.disable()  # what an import makes stays, and walking it again and again is a fifth of the import's time
    try:
        import litellm
    finally:
        if collects:
            gc.enable()
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def check_models(pool: Pool) -> None:
    """Raises BadInput for a worker whose model has no provider known to litellm. Imports litellm (takes seconds)."""
    for worker in pool.workers:
        if worker.is_local or not needs_litellm(worker):
            continue
        litellm = load_litellm()
        try:
            litellm.get_llm_provider(worker.model, api_base=worker.api_base)
        except litellm.exceptions.BadRequestError:
            message = f"worker {worker.name!r}: litellm knows no provider for model {worker.model!r}"
            raise BadInput(message, "model") from None


@cache
def _takes_seed(model: str) -> bool:
    """Whether the provider takes a seed, which is optional: one that does not know it would refuse the call."""
    known = load_litellm().get_supported_openai_params(model)
    return known is None or "seed" in known


def speaks_openai(worker: Worker) -> bool:
    """Whether the worker can be called directly; not so a model that OpenAI serves by the Responses API only."""
    provider, _, model = worker.model.partition("/")
    if provider not in PROVIDERS or worker.api_base is None:
        return False
    return bool(load_litellm().model_cost.get(model, {}).get("mode") != "responses")


def _fields(worker: Worker, ask: Ask, variable: str | None) -> dict[str, Any]:
    if worker.is_recorded:
        raise RecordedWorker(f"worker {worker.name!r} is known from recorded scores only and cannot be asked")
    key = worker.key(variable)
    fields = deepcopy(worker.params) | ask.sampling.fields()
    if worker.params:
        fields["allowed_openai_params"] = list(worker.params)  # sent as they are where litellm does not know them
    if worker.api_base is not None:
        fields |= {"api_base": worker.api_base, "api_key": key or "none"}
    elif key is not None:
        fields["api_key"] = key
    if worker.api_version is not None:
        fields["api_version"] = worker.api_version
    if worker.headers:
        fields["extra_headers"] = worker.sent_headers()
    _leave_out_tools(worker, fields)
    if "tools" in fields:
        fields["_skip_mcp_handler"] = True  # tools are the caller's; litellm's MCP gateway must not handle them
    timeouts = worker.timeouts
    limit = worker.output_tokens(fields.pop("max_tokens", None))
    if worker.limit_field == "max_tokens" and worker.model.startswith(("openai/", "azure/")):
        # Bypasses litellm, which renames it for some models.
        fields["extra_body"] = fields.get("extra_body", {}) | {"max_tokens": limit}
    else:
        fields[worker.limit_field or "max_tokens"] = limit
    return fields | {
        "model": worker.model,
        "messages": [dict(message) for message in ask.messages],
        "timeout": httpx.Timeout(timeouts.total_s, connect=timeouts.connect_s),
        "num_retries": 0,
        "max_retries": 0,
    }


def _leave_out_tools(worker: Worker, fields: dict[str, Any]) -> None:
    """Leave out providers' tools that the worker does not take, and what would be said about none."""
    tools = fields.get("tools")
    if tools is None:
        return
    taken = [tool for tool in tools if tool["type"] in ("function", *worker.abilities.hosted_tools)]
    if taken:
        fields["tools"] = taken
        return
    for name in ("tools", "tool_choice", "parallel_tool_calls"):
        fields.pop(name, None)


_UNSENT = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "extra_headers",
        "timeout",
        "num_retries",
        "max_retries",
        "_skip_mcp_handler",
    }
)
"""Fields of a litellm call that do not go into the request's body."""

REMEMBERED_CHARS = 4096
"""JSON of fields whose translation is remembered: it takes litellm 0.2 ms, and most requests set the same ones."""


def body_of(worker: Worker, fields: dict[str, Any]) -> dict[str, Any]:
    """The body of a request in OpenAI's protocol, with the field names and forms that the model takes."""
    provider, _, model = worker.model.partition("/")
    given = {name: value for name, value in fields.items() if name not in _UNSENT | {"model", "messages"}}
    # Each question has a seed of its own, which these providers take as it is: the rest is the same for all of them.
    seeded = "seed" in given and "seed" not in given.get("extra_body", ())
    text = json.dumps({**given, "seed": 0} if seeded else given, sort_keys=True)
    options = _options if len(text) <= REMEMBERED_CHARS else _options.__wrapped__
    body = {"model": model, "messages": fields["messages"], **options(provider, model, text)}
    if seeded and "seed" in body:
        body["seed"] = given["seed"]
    return body


@lru_cache(maxsize=1024)
def _options(provider: str, model: str, given: str) -> dict[str, Any]:
    """The fields of a body but model and messages, for the `given` ones as JSON. To be read only."""
    fields = json.loads(given)
    extra = fields.pop("extra_body", {})
    options = load_litellm().utils.get_optional_params(model=model, custom_llm_provider=provider, **fields)
    extra |= options.pop("extra_body", None) or {}
    set_ = {name: value for name, value in options.items() if value is not None and (name, value) != ("stream", False)}
    return {**set_, **extra}


def translated(model: str, fields: Mapping[str, Any], allowed: Sequence[str] = ()) -> dict[str, Any]:
    """What litellm would put into a provider's request for the fields of ours. Nothing is sent.

    `allowed`: fields that pass although litellm does not know them of the model. Raises litellm's errors, of which
    UnsupportedParamsError is for a field that the model does not take.
    """
    litellm = load_litellm()
    name, provider, _, _ = litellm.get_llm_provider(model=model)
    given = deepcopy(dict(fields))  # litellm's translations change their arguments
    extra = {"allowed_openai_params": list(allowed)} if allowed else {}
    found: dict[str, Any] = litellm.utils.get_optional_params(
        model=name, custom_llm_provider=provider, **given, **extra
    )
    return found
