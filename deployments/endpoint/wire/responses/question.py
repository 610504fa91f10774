"""From a Responses request to a question: its items as messages, what came before them, its tools as functions."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.endpoint.answer.owner import OWNER
from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.chat import Taken, session_of, shows_work
from deployments.endpoint.wire.problems import Problem
from deployments.endpoint.wire.responses.draft import Draft
from deployments.endpoint.wire.responses.items import Reading, kind_of
from deployments.endpoint.wire.responses.output import response_of
from deployments.endpoint.wire.responses.repeated import repeated
from deployments.endpoint.wire.responses.tools import Tools
from models.errors import BadInput, NotFound, Pruned
from models.ledger.kept.responses import Kept, chain, get, newest
from models.ledger.store import Ledger
from models.workers.ask import Sampling

if TYPE_CHECKING:
    from deployments.endpoint.wire.responses.request import ResponseRequest

SEALED = "reasoning.encrypted_content"
"""What a client includes that keeps its responses itself."""


@dataclass(frozen=True, kw_only=True)
class ResponsesQuestion(Question):
    """`draft`: its response in the making. `input`: the items as they are kept. `conversation`: its name by the client.

    `outbox`: what its client has not been sent yet: the beginning, one entry (maybe empty) for each delta, the end.
    `trace`: the caller wants to see who answered.
    """

    draft: Draft
    outbox: deque[bytes] = field(default_factory=deque)
    input: Sequence[dict[str, Any]] = ()
    owner: str | None = None
    previous: str | None = None
    conversation: str | None = None
    store: bool = True
    background: bool = False
    trace: bool = False

    @property
    def shows_work(self) -> bool:
        """Agents ask for summaries of the reasoning with every request: of a key that may not see the work, they show
        what a worker shows of its own."""
        return self.show_work or (self.reasons and "trace" in self.caller.policy.scopes)

    def ended_at(self) -> int | None:
        """Unix seconds; `None` for a request with an Idempotency-Key, which gets the same bytes each time."""
        return int(time.time()) if self.key is None else None

    def kept(self, id: str, process: str | None = None) -> Kept:
        """The response as the ledger keeps it now."""
        body = self.draft.body()
        named = self.owner, self.previous, self.conversation
        return Kept(id, body["status"], body, self.input, *named, process)


class Reader:
    """Reads questions."""

    def __init__(self, ledger: Ledger, taken: Taken) -> None:
        self._ledger, self._taken = ledger, taken

    def question(
        self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds
    ) -> ResponsesQuestion:
        """Raises BadInput, with the field's name, and Problem 400 for a response that cannot be continued."""
        from deployments.endpoint.wire.responses.request import ResponseRequest

        asked, owner = ResponseRequest.parse(body, within), OWNER.get()
        earlier = self._earlier(asked, owner)
        items = self._items(asked, owner)
        reading = Reading()
        if asked.instructions:
            reading.messages.append({"role": "system", "content": asked.instructions})
        for kept in earlier:
            reading.read([*kept.input, *kept.body["output"]])
        reading.notes.clear()  # they were told before
        reading.read(items)
        if not reading.messages:
            raise BadInput("input is missing", "input")
        if len(reading.messages) > within.messages:
            raise BadInput(f"input: at most {within.messages} messages are taken, with those before it", "input")
        tools = Tools(asked.tools, self._taken(asked.model))
        sampling = _sampling(asked, tools)
        notes = (*asked.notes, *reading.notes, *tools.notes)
        summary = (asked.reasoning or {}).get("summary")
        previous = earlier[-1].id if earlier else None
        return ResponsesQuestion(
            id=id,
            model=asked.model,
            messages=reading.messages,
            sampling=sampling,
            fugu=asked.fugu,
            workers=headers.get("X-Fugu-Workers"),
            key=key,
            stream=asked.stream,
            include_usage=True,
            user=asked.user,
            session=session_of(headers, asked.conversation_id or asked.prompt_cache_key),
            notes=notes,
            show_work=shows_work(headers, asked.fugu),
            reasons=bool(summary),
            draft=Draft(repeated(asked, tools), tools, SEALED in asked.include, asked.background),
            input=items,
            owner=owner,
            previous=previous,
            conversation=asked.conversation_id,
            store=asked.store,
            background=asked.background,
            trace=headers.get("X-Fugu-Trace") == "1",
        )

    def _earlier(self, asked: ResponseRequest, owner: str | None) -> list[Kept]:
        """The responses that came before, the oldest first."""
        previous = asked.previous_response_id
        if asked.conversation_id is not None:
            previous = newest(self._ledger, asked.conversation_id, owner)
        if previous is None:
            return []
        try:
            found = chain(self._ledger, previous, owner)
        except Pruned:
            raise
        except NotFound as error:
            raise _not_found(str(error)) from None
        if found[-1].status in ("queued", "in_progress"):
            raise _not_found(f"the response {previous!r} has no answer yet")
        return found

    def _items(self, asked: ResponseRequest, owner: str | None) -> list[dict[str, Any]]:
        """The items of the input, with those that it refers to in place of the references."""
        if asked.input is None:
            return []
        if isinstance(asked.input, str):
            return [{"type": "message", "role": "user", "content": asked.input}]
        items: list[dict[str, Any]] = []
        for index, item in enumerate(asked.input):
            if kind_of(item) != "item_reference":
                items.append(dict(item))
            elif not item["id"].startswith("rs_"):  # a worker thinks anew
                items.append(self._found(item["id"], owner, f"input[{index}].id"))
        return items

    def _found(self, id: str, owner: str | None, where: str) -> dict[str, Any]:
        """An item that a response put out. Raises BadInput."""
        place = response_of(id)
        if place is not None:
            try:
                output = get(self._ledger, place[0], owner).body["output"]
            except NotFound:
                output = ()
            for item in output:
                if item["id"] == id:
                    return dict(item)
        raise BadInput(f"{where}: there is no item {id[:100]!r}", where)


def _not_found(message: str) -> Problem:
    return Problem(400, message, code="previous_response_not_found", param="previous_response_id")


def _sampling(asked: ResponseRequest, tools: Tools) -> Sampling:
    given: dict[str, Any] = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_tokens": asked.max_output_tokens,
        "response_format": _format((asked.text or {}).get("format")),
        "reasoning_effort": (asked.reasoning or {}).get("effort"),
        "logprobs": asked.logprobs or None,
        "top_logprobs": asked.top_logprobs or None,
    }
    choice = tools.choice(asked.tool_choice)
    if tools.functions:
        given |= {"tools": tools.functions, "tool_choice": choice, "parallel_tool_calls": asked.parallel_tool_calls}
    return Sampling.model_validate(given)


def _format(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The format in the shape of chat completions."""
    if given is None or given["type"] == "text":
        return None
    if given["type"] == "json_object":
        return {"type": "json_object"}
    fields = ("name", "description", "schema", "strict")
    return {"type": "json_schema", "json_schema": {n: given[n] for n in fields if given.get(n) is not None}}
