"""Token usage and cost of a reply: the upstream's counts where plausible, estimates where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.workers.ask import TOKEN_BYTES, Ask, Message, Sampling, Usage, json_bytes, prompt_bytes
from models.workers.pool import Worker
from models.workers.translation import load_litellm

PROMPT_SLACK = 32_768
"""Tokens that a provider's own templates, instructions and searches add to a prompt."""

PART_TOKENS = 65_536
"""More than any provider counts for one part of a message that is not text, such as an image."""

COUNTED_CHARS = 32_768
"""A longer text is not tokenized for an estimate: its bytes are divided by TOKEN_BYTES."""


def usage_of(counted: Any, worker: Worker, ask: Ask, said: str) -> Usage:
    """The usage of a reply. `counted`: its field `usage`, of any content; `said`: all generated text, with thoughts.

    Counts are between 0 and what prompt and reply can hold: every token is at least a byte, and hidden thoughts are
    within the limit that was sent. A count that is missing, not a whole number, or 0 for a text is estimated;
    `estimated` is set if any number is not the upstream's.
    """
    fields = counted if isinstance(counted, Mapping) else {}
    counts = {name: _count(fields.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    prompt, completion, total = counts.values()
    thoughts = _detail(fields, "completion_tokens_details", "reasoning_tokens")
    if prompt is None and total is not None and completion is not None and total > completion:
        prompt = total - completion
    estimated = not counts["prompt_tokens"] or completion is None or (completion == 0 and said != "")
    prompt = prompt or _prompt_tokens(worker, ask)
    completion = completion or tokens(said, worker)
    if thoughts > completion:  # counted in addition to the completion
        completion += thoughts
    most_prompt, most = _most_prompt(ask), max(_limit(worker, ask), json_bytes(said))
    if total is not None and total > prompt + completion:
        estimated |= total > most_prompt + most
        completion = total - prompt if total <= prompt + most else completion
    estimated |= prompt > most_prompt or completion > most
    prompt, completion = min(prompt, most_prompt), min(completion, most)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cache_creation_tokens=min(_detail(fields, "prompt_tokens_details", "cache_creation_tokens"), prompt),
        cached_tokens=min(_detail(fields, "prompt_tokens_details", "cached_tokens"), prompt),
        reasoning_tokens=min(thoughts, completion),
        estimated=estimated,
    )


def cost_of(usage: Usage, worker: Worker, ask: Ask) -> float:
    """The cost in USD, at most what was reserved for the call: budgets hold whatever an upstream counts."""
    if worker.price is None:
        return 0.0
    cost = worker.price.usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    if usage.prompt_tokens <= _characters(ask) and usage.completion_tokens <= _limit(worker, ask):
        return cost  # surely within it, and the bytes of a long prompt need not be counted for that
    return min(cost, worst_usd(worker, ask.messages, ask.sampling))


def worst_usd(worker: Worker, messages: Sequence[Message], sampling: Sampling) -> float:
    """The most that a call with these messages can cost, USD; 0 for a worker without a price."""
    return 0.0 if worker.price is None else worker.worst_usd(prompt_bytes(messages, sampling), sampling.max_tokens)


def tokens(text: str, worker: Worker) -> int:
    """An estimate of the text's number of tokens."""
    if len(text) > COUNTED_CHARS:
        return json_bytes(text) // TOKEN_BYTES
    return int(load_litellm().token_counter(model=worker.model, text=text)) if text else 0


def _count(value: Any) -> int | None:
    """A token count: a whole number of at least 0, or `None`. JSON's 5.0 is a count, "5" is not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _detail(fields: Mapping[str, Any], group: str, name: str) -> int:
    details = fields.get(group)
    return (_count(details.get(name)) or 0) if isinstance(details, Mapping) else 0


def _prompt_tokens(worker: Worker, ask: Ask) -> int:
    texts = [part["text"] for part in _parts(ask) if isinstance(part.get("text"), str)]
    written = "\n".join([*texts, *(str(tool) for tool in ask.sampling.tools or ())])
    return tokens(written, worker) + TOKEN_BYTES * len(ask.messages)  # about 4 tokens delimit a message


def _characters(ask: Ask) -> int:
    return sum(len(part["text"]) for part in _parts(ask) if isinstance(part.get("text"), str))


def _parts(ask: Ask) -> Iterator[Mapping[str, Any]]:
    for message in ask.messages:
        content = message.get("content")
        yield from content if isinstance(content, list) else [{"type": "text", "text": content}]


def _most_prompt(ask: Ask) -> int:
    """The most tokens of the prompt: a character is at most four bytes, and so four tokens; includes the tools."""
    other_fields = [ask.sampling.fields(), [message.get("tool_calls") for message in ask.messages]]
    others = sum(part.get("type") != "text" for part in _parts(ask))
    return 4 * _characters(ask) + json_bytes(other_fields) + PROMPT_SLACK + PART_TOKENS * others


def _limit(worker: Worker, ask: Ask) -> int:
    return worker.output_tokens(ask.sampling.max_tokens)
