"""Output items of a response while they are being written, with the events that tell a client of each change."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.endpoint.wire.responses.tools import Origin, freeform_input

Event = dict[str, Any]
Item = dict[str, Any]
Logprobs = Sequence[Mapping[str, Any]]


class Writing:
    """An item. `item`: as it was announced, and once it has ended as it is. `index`: in the output."""

    prefix: str
    """What the ids of its kind begin with."""

    def __init__(self, id: str, index: int, **fields: Any) -> None:
        self.item: Item = {"id": id, **fields}
        self._index, self._pieces = index, list[str]()

    def begin(self) -> list[Event]:
        return [self._changed("added")]

    def write(self, text: str, logprobs: Logprobs = ()) -> list[Event]:
        """A piece of it. `logprobs`: of a message's tokens, in OpenAI's shape."""
        raise NotImplementedError

    def end(self, status: str) -> list[Event]:
        raise NotImplementedError

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    def _changed(self, kind: str) -> Event:
        return {"type": f"response.output_item.{kind}", "output_index": self._index, "item": dict(self.item)}

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": f"response.{kind}", "item_id": self.item["id"], "output_index": self._index, **fields}


class Message(Writing):
    prefix = "msg_"

    def __init__(self, id: str, index: int) -> None:
        super().__init__(id, index, type="message", status="in_progress", role="assistant", content=[])
        self._logprobs = list[Mapping[str, Any]]()

    def begin(self) -> list[Event]:
        return [*super().begin(), self._event("content_part.added", content_index=0, part=_part(""))]

    def write(self, text: str, logprobs: Logprobs = ()) -> list[Event]:
        told = [{**_with_bytes(each), "top_logprobs": [*map(_with_bytes, each["top_logprobs"])]} for each in logprobs]
        self._pieces.append(text)
        self._logprobs += told
        return [self._event("output_text.delta", content_index=0, delta=text, logprobs=told)]

    def end(self, status: str) -> list[Event]:
        part = _part(self._text, self._logprobs)
        self.item |= {"status": status, "content": [part]}
        return [
            self._event("output_text.done", content_index=0, text=part["text"], logprobs=part["logprobs"]),
            self._event("content_part.done", content_index=0, part=part),
            self._changed("done"),
        ]


def _with_bytes(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """This API has no null for a token's bytes."""
    return entry if entry["bytes"] is not None else {**entry, "bytes": list(entry["token"].encode())}


def _part(text: str, logprobs: Logprobs = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


class Reasoning(Writing):
    prefix = "rs_"

    def __init__(self, id: str, index: int, sealed: bool) -> None:
        """`sealed`: with the content that only this endpoint reads."""
        seal = {"encrypted_content": base64.urlsafe_b64encode(f"fugu:1:{id}".encode()).decode()} if sealed else {}
        super().__init__(id, index, type="reasoning", summary=[], **seal)

    def begin(self) -> list[Event]:
        return [*super().begin(), self._summary("part.added", part=_summary(""))]

    def write(self, text: str, logprobs: Logprobs = ()) -> list[Event]:
        self._pieces.append(text)
        return [self._summary("text.delta", delta=text)]

    def end(self, status: str) -> list[Event]:
        part = _summary(self._text)
        self.item["summary"] = [part]
        done = self._summary("text.done", text=part["text"])
        return [done, self._summary("part.done", part=part), self._changed("done")]

    def _summary(self, kind: str, **fields: Any) -> Event:
        return self._event(f"reasoning_summary_{kind}", summary_index=0, **fields)


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


class FunctionCall(Writing):
    prefix = "fc_"

    def __init__(self, id: str, index: int, call_id: str, origin: Origin) -> None:
        super().__init__(
            id, index, type="function_call", status="in_progress", arguments="", **_called(call_id, origin)
        )

    def write(self, text: str, logprobs: Logprobs = ()) -> list[Event]:
        self._pieces.append(text)
        return [self._event("function_call_arguments.delta", delta=text)] if text else []

    def end(self, status: str) -> list[Event]:
        self.item |= {"status": status, "arguments": self._text}
        done = self._event("function_call_arguments.done", name=self.item["name"], arguments=self._text)
        return [done, self._changed("done")]


class CustomCall(Writing):
    """A call of a freeform tool. Its text is known once the arguments, a JSON object with it, are complete."""

    prefix = "ctc_"

    def __init__(self, id: str, index: int, call_id: str, origin: Origin) -> None:
        super().__init__(id, index, type="custom_tool_call", input="", **_called(call_id, origin))

    def write(self, text: str, logprobs: Logprobs = ()) -> list[Event]:
        self._pieces.append(text)
        return []

    def end(self, status: str) -> list[Event]:
        text = freeform_input(self._text)
        self.item["input"] = text
        delta = [self._event("custom_tool_call_input.delta", delta=text)] if text else []
        return [*delta, self._event("custom_tool_call_input.done", input=text), self._changed("done")]


def _called(call_id: str, origin: Origin) -> dict[str, Any]:
    namespace = {} if origin.namespace is None else {"namespace": origin.namespace}
    return {"call_id": call_id, "name": origin.name, **namespace}
