"""A client's tools inside a workflow: calls are handed out under our own ids, results return to their step."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from models.conductor.run.request import ConductRequest, StepRecord
from models.ledger import workflows
from models.ledger.requests import get_request
from models.ledger.store import Ledger
from models.workers.ask import Reply, Sampling

_OURS = re.compile(r"call_[0-9a-f]{32}")


def is_ours(id: str) -> bool:
    """Whether a tool call's id has the form of those in `ConductAnswer.tool_calls`."""
    return _OURS.fullmatch(id) is not None


def continue_with(
    ledger: Ledger, id: str, results: Mapping[str, str], sampling: Sampling | None = None
) -> ConductRequest:
    """Store the tool results (call id -> text) and return the request, with id `id`, that continues with them.

    It has the first request's messages and limits; `sampling` applies to its calls from now on (default: as before),
    with the earlier tools if it has none: a client need not send them again. Storing the same results again has no
    effect. The request that handed the calls out must have its row, with its `ConductRequest` under `request`.
    Synchronous: call it in a thread. Raises BadInput for an unknown or expired id, calls of several requests, results
    that lack calls handed out together, and a second result that differs from the first.
    """
    before = ConductRequest.model_validate(get_request(ledger, workflows.take_results(ledger, results))["request"])
    shaped = before.sampling if sampling is None else _with_tools(sampling, before.sampling)
    return before.model_copy(update={"id": id, "chain": (*before.chain, before.id), "sampling": shaped})


def asked_by(ledger: Ledger, call_ids: Collection[str]) -> ConductRequest | None:
    """The request whose answer handed out these tool calls; `None` if none of them is known."""
    found = workflows.handed_out_by(ledger, call_ids)
    return None if found is None else ConductRequest.model_validate(get_request(ledger, found)["request"])


def _with_tools(wanted: Sampling, before: Sampling) -> Sampling:
    """The earlier tools are kept, but not `tool_choice`, which would make a worker call tools again and again."""
    if wanted.tools:
        return wanted
    return wanted.model_copy(update={name: getattr(before, name) for name in ("tools", "parallel_tool_calls")})


def conversation_of(ledger: Ledger, call_ids: Sequence[str]) -> str | None:
    """The conversation in which these tool calls (known or not) were handed out, for a later request."""
    return workflows.conversation_of(ledger, call_ids)


def turn_of(reply: Reply, results: Sequence[str]) -> list[dict[str, Any]]:
    """The worker's reply with its own ids, and the tool results, in the order of the calls."""
    said = {"role": "assistant", "content": reply.text, "tool_calls": [dict(call) for call in reply.tool_calls]}
    answers = [
        {"role": "tool", "tool_call_id": call["id"], "content": result}
        for call, result in zip(reply.tool_calls, results, strict=True)
    ]
    return [said, *answers]


def handed_out(tool: workflows.ToolCall) -> dict[str, Any]:
    """A tool call as the client gets it, under our id."""
    function = {"name": tool.name, "arguments": tool.arguments}
    return {"id": tool.id, "type": "function", "function": function}


def tools_of(reply: Reply, record: StepRecord, salt: str, conversation: str) -> list[workflows.ToolCall]:
    """The tool calls of a step's reply, under ids that identify the step."""
    return [
        workflows.ToolCall(
            id=_tool_id(f"{salt}:{record.index}:{reply.call_id}:{place}"),
            workflow=record.workflow,
            step=record.index,
            conversation=conversation,
            original=call["id"],
            name=call["function"]["name"],
            arguments=call["function"]["arguments"],
        )
        for place, call in enumerate(reply.tool_calls)
    ]


def _tool_id(text: str) -> str:
    return f"call_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
