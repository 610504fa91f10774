"""A response that is kept as the stream of events that it once was, and its input as a list of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.endpoint.wire.responses.draft import encoded
from deployments.endpoint.wire.responses.items import Item, kind_of
from deployments.endpoint.wire.responses.tools import Origin, freeform_arguments
from deployments.endpoint.wire.responses.written import (
    CustomCall,
    Event,
    FunctionCall,
    Logprobs,
    Message,
    Reasoning,
    Writing,
)
from models.errors import BadInput

PAGE, LONGEST_PAGE = 20, 100
"""Items in a list, unless the client wants another number, and at most."""


def replayed(body: Mapping[str, Any], after: int) -> Iterator[bytes]:
    """The events of a final response but those with numbers up to `after`. Each text is one delta, so the numbers are
    others than at first; the last event always comes."""
    kind = "failed" if body["status"] == "cancelled" else body["status"]
    events = [*_beginning(body), *_middle(body["output"]), {"type": f"response.{kind}", "response": body}]
    for number, event in enumerate(events):
        if number > after or number == len(events) - 1:
            yield encoded({**event, "sequence_number": max(number, after + 1)})


def _beginning(body: Mapping[str, Any]) -> list[Event]:
    begun = {**body, "status": "in_progress", "output": [], "usage": None, "completed_at": None, "error": None}
    return [{"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")]


def _middle(output: Sequence[Item]) -> Iterator[Event]:
    for index, item in enumerate(output):
        writing, text, logprobs = _writing(item, index)
        yield from writing.begin()
        yield from writing.write(text, logprobs) if text else ()
        yield from writing.end(item.get("status", "completed"))


def _writing(item: Item, index: int) -> tuple[Writing, str, Logprobs]:
    match item["type"]:
        case "message":
            text = "".join(part["text"] for part in item["content"])
            return Message(item["id"], index), text, [each for part in item["content"] for each in part["logprobs"]]
        case "reasoning":
            text = "".join(part["text"] for part in item["summary"])
            return Reasoning(item["id"], index, "encrypted_content" in item), text, ()
    origin = Origin(item["name"], item.get("namespace"))
    if item["type"] == "custom_tool_call":
        return CustomCall(item["id"], index, item["call_id"], origin), freeform_arguments(item["input"]), ()
    return FunctionCall(item["id"], index, item["call_id"], origin), item["arguments"], ()


def listed(response: str, index: int, item: Item) -> dict[str, Any]:
    """An item of a response's input, with an id where its client gave it none, and its content as a list."""
    kind = kind_of(item)
    shown = {name: value for name, value in item.items() if value is not None}
    id = shown.get("id")
    shown |= {"type": kind, "id": id if isinstance(id, str) and id else f"in_{response.partition('_')[2]}_{index}"}
    if kind == "message" and not isinstance(content := item.get("content") or "", list):
        part = {"type": "output_text", "annotations": []} if item["role"] == "assistant" else {"type": "input_text"}
        shown["content"] = [{**part, "text": content}]
    return {"status": "completed", **shown} if kind != "reasoning" else shown


def page_of(items: Sequence[dict[str, Any]], asked: Mapping[str, str]) -> dict[str, Any]:
    """A page of items, as the query asks: `order` (the newest first), `after` (an item's id), `limit`.

    Raises BadInput, with the field's name.
    """
    order, limit = asked.get("order", "desc"), asked.get("limit", str(PAGE))
    if order not in ("asc", "desc"):
        raise BadInput("order has to be asc or desc", "order")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:4]) <= LONGEST_PAGE):
        raise BadInput(f"limit has to be a whole number from 1 to {LONGEST_PAGE}", "limit")
    ordered = list(items) if order == "asc" else list(reversed(items))
    after = asked.get("after")
    if after is not None:
        places = [place for place, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise BadInput(f"there is no item {after[:100]!r}", "after")
        ordered = ordered[places[0] + 1 :]
    page = ordered[: int(limit)]
    ends = {"first_id": page[0]["id"] if page else "", "last_id": page[-1]["id"] if page else ""}
    return {"object": "list", "data": page, "has_more": len(ordered) > len(page), **ends}
