"""One call to one worker, over litellm: no retries of its own, explicit timeouts, errors in our tree."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from models.errors import BadInput, FuguError, RecordedWorker, UpstreamUnavailable
from models.workers.ask import Ask, Reply, Usage, characters
from models.workers.pool import Pool, Worker
from models.workers.upstream import translated


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed reply; the last one carries the whole `reply` (also after an empty text)."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    reply: Reply | None = None


class Client:
    """Sends asks to the pool's workers. Each method sends once; who retries is the dispatcher."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def complete(self, ask: Ask) -> Reply:
        """The worker's whole reply, with usage and cost.

        Raises MissingKey, RecordedWorker, and what `upstream.translated` makes of the provider's errors.
        """
        worker = self._pool.worker(ask.worker)
        litellm, fields = await _prepared(worker, ask)
        started = time.monotonic()
        try:
            async with asyncio.timeout(worker.limits.total_timeout_s):
                response = await litellm.acompletion(**fields)
        except Exception as error:
            raise translated(error, worker) from error
        return _reply(worker, ask, response, time.monotonic() - started)

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk]:
        """The reply as it comes. Closing the iterator closes the upstream's connection.

        The total limit covers the whole stream. A stream that ends without a finish reason was cut:
        UpstreamUnavailable.
        """
        worker = self._pool.worker(ask.worker)
        litellm, fields = await _prepared(worker, ask)
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
        started = time.monotonic()
        deadline = asyncio.get_running_loop().time() + worker.limits.total_timeout_s
        response, parts = None, []
        try:
            async with asyncio.timeout_at(deadline):
                response = await litellm.acompletion(**fields)
            # The limit is set around each wait alone: a `timeout` held across a yield would cancel the consumer.
            while True:
                async with asyncio.timeout_at(deadline):
                    part = await anext(response, None)
                if part is None:
                    break
                parts.append(part)
                chunk = _chunk(part)
                if chunk is not None:
                    yield chunk
            if response.received_finish_reason is None and response.intermittent_finish_reason is None:
                raise UpstreamUnavailable(f"worker {worker.name!r}: the stream was cut", maybe_paid=True)
            whole = litellm.stream_chunk_builder(parts, messages=fields["messages"])
            yield Chunk(reply=_reply(worker, ask, whole, time.monotonic() - started))
        except FuguError:
            raise
        except Exception as error:
            raise translated(error, worker) from error
        finally:
            if response is not None:
                with suppress(Exception):
                    await response.aclose()


async def _prepared(worker: Worker, ask: Ask) -> tuple[Any, dict[str, Any]]:
    """litellm, imported on first use (seconds) and off the event loop, and the fields to send."""
    fields = _fields(worker, ask)
    litellm = load_litellm() if load_litellm.cache_info().currsize else await asyncio.to_thread(load_litellm)
    if "seed" in fields and not _takes_seed(worker.model):
        del fields["seed"]
    return litellm, fields


@cache
def load_litellm() -> Any:
    """litellm, set up for this project: nothing fetched on import, nothing printed or reported."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import asks the network
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def check_models(pool: Pool) -> None:
    """Raises BadInput for a worker whose model litellm cannot send to anybody. Imports litellm (seconds)."""
    litellm = load_litellm()
    for worker in pool.workers:
        if worker.is_recorded:
            continue
        try:
            litellm.get_llm_provider(worker.model, api_base=worker.api_base)
        except litellm.exceptions.BadRequestError:
            message = f"worker {worker.name!r}: litellm knows no provider for model {worker.model!r}"
            raise BadInput(message, "model") from None


@cache
def _takes_seed(model: str) -> bool:
    """A seed is a wish; a provider that does not know it would refuse the whole call."""
    known = load_litellm().get_supported_openai_params(model)
    return known is None or "seed" in known


def _fields(worker: Worker, ask: Ask) -> dict[str, Any]:
    if worker.is_recorded:
        raise RecordedWorker(f"worker {worker.name!r} is known from recorded scores only and cannot be asked")
    key = worker.key()
    fields = ask.sampling.fields()
    if worker.api_base is not None:
        fields |= {"api_base": worker.api_base, "api_key": key or "none"}
    elif key is not None:
        fields["api_key"] = key
    if "tools" in fields:
        fields["_skip_mcp_handler"] = True  # tools are the caller's; litellm's own gateway has no say in them
    limits = worker.limits
    limit = worker.output_tokens(ask.sampling.max_tokens)
    if worker.limit_field == "max_tokens" and worker.model.startswith(("openai/", "azure/")):
        fields["extra_body"] = {"max_tokens": limit}  # past litellm, which gives it another name for some models
    else:
        fields[worker.limit_field or "max_tokens"] = limit
    return fields | {
        "model": worker.model,
        "messages": [dict(message) for message in ask.messages],
        "timeout": httpx.Timeout(limits.total_timeout_s, connect=limits.connect_timeout_s),
        "num_retries": 0,
        "max_retries": 0,
    }


def _reply(worker: Worker, ask: Ask, response: Any, seconds: float) -> Reply:
    if not response.choices:
        raise UpstreamUnavailable(f"worker {worker.name!r}: the reply holds no choice", maybe_paid=True)
    choice = response.choices[0]
    usage = _usage(worker, ask, response)
    price = worker.price
    return Reply(
        worker=worker.name,
        revision=ask.revision,
        text=None if choice.message.content is None else characters(choice.message.content),
        finish_reason=choice.finish_reason or "stop",
        tool_calls=tuple(call.model_dump() for call in choice.message.tool_calls or ()),
        usage=usage,
        cost_usd=0.0 if price is None else price.usd(usage.prompt_tokens, usage.completion_tokens),
        seconds=seconds,
    )


def _usage(worker: Worker, ask: Ask, response: Any) -> Usage:
    """The upstream's count; where it gives none, litellm's own (a call is never booked as free by omission)."""
    counted = getattr(response, "usage", None)
    if counted is None or not (counted.prompt_tokens or counted.completion_tokens):
        count = load_litellm().token_counter
        text = response.choices[0].message.content or ""
        prompt = count(model=worker.model, messages=[dict(message) for message in ask.messages])
        return Usage(prompt_tokens=prompt, completion_tokens=count(model=worker.model, text=text))
    prompt, completion = counted.prompt_tokens_details, counted.completion_tokens_details
    return Usage(
        prompt_tokens=counted.prompt_tokens or 0,
        completion_tokens=counted.completion_tokens or 0,
        cached_tokens=getattr(prompt, "cached_tokens", None) or 0,
        reasoning_tokens=getattr(completion, "reasoning_tokens", None) or 0,
    )


def _chunk(part: Any) -> Chunk | None:
    if not part.choices:
        return None
    delta = part.choices[0].delta
    calls = tuple(call.model_dump() for call in delta.tool_calls or ())
    return Chunk(text=delta.content or "", tool_calls=calls) if delta.content or calls else None
