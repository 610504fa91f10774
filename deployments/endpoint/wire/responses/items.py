"""Items of a Responses request as the messages of a chat, which is what workers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.endpoint.wire.responses.tools import call_body
from models.errors import BadInput

Item = Mapping[str, Any]

CALLS = ("function_call", "custom_tool_call")
OUTPUTS = ("function_call_output", "custom_tool_call_output")
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "summary_text": "text", "reasoning_text": "text"}
_DETAILS = ("low", "high")


class Reading:
    """Reads items one after another into `messages`; `notes`: what was left out."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._asked: dict[str, dict[str, Any]] = {}

    def read(self, items: Sequence[Item], where: str = "input") -> None:
        """Raises BadInput, with the field's name, for what no worker could be given."""
        left_out: list[str] = []
        for index, item in enumerate(items):
            kind = kind_of(item)
            if kind == "message":
                self._say(item, f"{where}[{index}].content")
            elif kind in CALLS:
                self._call(item)
            elif kind in OUTPUTS:
                self._answer(item, f"{where}[{index}].output")
            elif kind != "reasoning":  # a worker thinks anew
                left_out.append(str(kind))
        if left_out:
            self.notes.append(f"these items were left out: {', '.join(dict.fromkeys(left_out))}")

    def _say(self, item: Item, where: str) -> None:
        role, last = item["role"], self.messages[-1] if self.messages else {}
        if role != "assistant":
            self.messages.append({"role": role, "content": _content(item.get("content"), where)})
            return
        said = _said(item.get("content"), where)
        if last.get("role") == "assistant" and last.get("tool_calls"):
            # A worker's words beside its calls are one message, in whichever order they come.
            last["content"] = f"{last['content']}\n\n{said['content']}" if last.get("content") else said["content"]
        else:
            self.messages.append({"role": "assistant", **said})

    def _call(self, item: Item) -> None:
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant":
            last = {"role": "assistant"}
            self.messages.append(last)
        last.setdefault("tool_calls", []).append(call_body(item))
        if last.get("content") == "":
            del last["content"]
        self._asked[item["call_id"]] = last

    def _answer(self, item: Item, where: str) -> None:
        message = {"role": "tool", "tool_call_id": item["call_id"], "content": _content(item.get("output"), where)}
        self.messages.insert(self._next_to(item["call_id"]), message)

    def _next_to(self, call_id: str) -> int:
        """Where a result belongs: behind its call and the results that are there, wherever the client has put it."""
        asked = self._asked.get(call_id)
        if asked is None:
            return len(self.messages)
        at = next(index for index in range(len(self.messages), 0, -1) if self.messages[index - 1] is asked)
        while at < len(self.messages) and self.messages[at]["role"] == "tool":
            at += 1
        return at


def kind_of(item: Item) -> str:
    kind = item.get("type")
    return str(kind or ("item_reference" if "role" not in item else "message"))


def _said(content: Any, where: str) -> dict[str, Any]:
    """An assistant's message: its text, or its refusal. Raises BadInput for anything else in it."""
    if content is None or isinstance(content, str):
        return {"content": content or ""}
    refused = [part["refusal"] for part in content if part["type"] == "refusal"]
    for index, part in enumerate(content):
        if part["type"] not in _TEXTS and part["type"] != "refusal":
            raise BadInput(f"{where}[{index}]: an assistant's message is text", f"{where}[{index}].type")
    said = {"content": "".join(part["text"] for part in content if part["type"] in _TEXTS)}
    return said | ({"refusal": "".join(refused)} if refused else {})


def _content(content: Any, where: str) -> Any:
    """The content of a chat message: a text, or a list of parts where there is more than one."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]  # what every worker can read
    return parts or ""


def _part(part: Item, where: str) -> dict[str, Any]:
    kind = part["type"]
    if kind in _TEXTS:
        return {"type": "text", "text": part["text"]}
    match kind:
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "input_image":
            return {"type": "image_url", "image_url": _image(part, where)}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
    return {"type": "file", "file": _file(part, where)}


def _image(part: Item, where: str) -> dict[str, Any]:
    url = part.get("image_url")
    if not url:
        raise BadInput(f"{where}: images are taken by image_url; there are no stored files here", f"{where}.image_url")
    if not url.startswith(("https://", "http://", "gs://", "data:")):
        raise BadInput(f"{where}.image_url has to be a URL, or data: with the image", f"{where}.image_url")
    return {"url": url} | ({"detail": part["detail"]} if part.get("detail") in _DETAILS else {})


def _file(part: Item, where: str) -> dict[str, Any]:
    for field in ("file_id", "file_url"):
        if part.get(field) and not part.get("file_data"):
            raise BadInput(f"{where}.{field}: files are taken as file_data, which holds them", f"{where}.{field}")
    if not part.get("file_data"):
        raise BadInput(f"{where}.file_data is missing", f"{where}.file_data")
    return {name: part[name] for name in ("file_data", "filename") if part.get(name)}
