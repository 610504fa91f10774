"""Anthropic's messages as chat messages, the form in which workers get them.

A turn of Anthropic's user may hold tool results, images and text in one: here the results come first, each a message
of its own, then the rest. An image in a result goes to the user's message behind it, as most workers take none in a
result. What cannot be said in the other form is left out with a note where it does not change the question, else
refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.errors import BadInput

Block = Mapping[str, Any]
Part = dict[str, Any]

BILLING = "x-anthropic-billing-header:"
"""Begins a block of Claude Code's system prompt that is for Anthropic's accounts. It changes with each request, and a
provider that caches prompts would find none again."""

IN_ERROR = "The tool reported an error:"

UNSEEN = frozenset({"thinking", "redacted_thinking"})
"""Blocks that only the model that wrote them can read."""


class History:
    """Translates messages. `notes` gets a sentence for each kind of thing that was left out. `anthropics`: the types of
    Anthropic's own blocks."""

    def __init__(self, notes: list[str], anthropics: frozenset[str]) -> None:
        self._notes, self._anthropics = notes, anthropics

    def messages(self, system: str | Sequence[Block] | None, messages: Sequence[Block]) -> list[dict[str, Any]]:
        """Raises BadInput, with the place, for content that cannot be passed on."""
        found = [] if system is None else self._system(system, "system")
        for index, message in enumerate(messages):
            content, where = message.get("content"), f"messages[{index}].content"
            match message["role"]:
                case "system":
                    found += self._system(content, where)
                case "assistant":
                    found.append(self._assistant(content, where))
                case _:
                    found += self._user(content, where)
        if messages[-1]["role"] == "assistant":
            self.note("the last message is the assistant's: some workers answer anew instead of going on with it")
        return found

    def note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)

    def _system(self, content: Any, where: str) -> list[dict[str, Any]]:
        parts = self._parts(content, where)
        kept = [part for part in parts if not str(part.get("text", "")).startswith(BILLING)]
        if len(kept) < len(parts):
            self.note("system: Claude Code's billing header was left out")
        return [{"role": "system", "content": _plain(kept, "\n\n")}] if kept else []

    def _assistant(self, content: Any, where: str) -> dict[str, Any]:
        blocks = list(_blocks(content, where))
        calls = [_call(block) for _, block in blocks if block["type"] == "tool_use"]
        said = [part for place, block in blocks if block["type"] != "tool_use" for part in self._part(block, place)]
        message: dict[str, Any] = {"role": "assistant"}
        if calls:
            message["tool_calls"] = calls
        # providers require a text where there is nothing else
        return {**message, "content": _plain(said, "") if said or not calls else None}

    def _user(self, content: Any, where: str) -> list[dict[str, Any]]:
        results, shown, rest = [], [], []
        for place, block in _blocks(content, where):
            if block["type"] != "tool_result":
                rest += self._part(block, place)
                continue
            result, images = self._result(block, place)
            results.append(result)
            shown += images
        rest = shown + rest
        return [*results, *([{"role": "user", "content": _plain(rest, None)}] if rest or not results else [])]

    def _result(self, block: Block, where: str) -> tuple[dict[str, Any], list[Part]]:
        """The tool's message, and what of it goes to the user's."""
        id = block["tool_use_id"]
        parts = self._parts(block.get("content"), f"{where}.content")
        texts = [part for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if others:
            texts.append(_text(f"({len(others)} attached below)"))
            others.insert(0, _text(f"Attached to the result of the call {id}:"))
        if block.get("is_error"):
            texts.insert(0, _text(IN_ERROR))
        if texts and (mark := block.get("cache_control")):
            texts[-1] = {**texts[-1], "cache_control": mark}
        return {"role": "tool", "tool_call_id": id, "content": _plain(texts, "\n")}, others

    def _parts(self, content: Any, where: str) -> list[Part]:
        return [part for place, block in _blocks(content, where) for part in self._part(block, place)]

    def _part(self, block: Block, where: str) -> list[Part]:
        """The parts that a block becomes: one mostly, none for one that is left out."""
        match block["type"]:
            case "text":
                parts = [_text(block["text"])]
            case "image":
                parts = [{"type": "image_url", "image_url": {"url": _image(block["source"], f"{where}.source")}}]
            case "document":
                parts = self._document(block, where)
            case "search_result":
                told = "\n".join(part["text"] for part in self._parts(block.get("content"), f"{where}.content"))
                parts = [_text(f"{block['title']} ({block['source']})\n{told}")]
            case "tool_reference":
                parts = [_text(f"The tool {block['tool_name']} can be called.")]
            case "compaction":
                parts = [_text(block["content"])] if block.get("content") else []
            case kind if kind in UNSEEN:
                return []
            case "tool_use" | "tool_result" as kind:
                raise BadInput(f"{where}: a {kind} does not belong here", f"{where}.type")
            case kind if kind in self._anthropics:
                self.note(f"blocks of type {kind} were left out: they belong to a tool of Anthropic's servers")
                return []
            case kind:
                raise BadInput(f"{where}: content of type {kind[:100]!r} is not known here", f"{where}.type")
        if parts and (mark := block.get("cache_control")):
            parts[-1]["cache_control"] = mark
        return parts

    def _document(self, block: Block, where: str) -> list[Part]:
        source, title = block["source"], block.get("title")
        head = [_text("\n".join(filter(None, [title, block.get("context")])))] if title or block.get("context") else []
        match source["type"]:
            case "text":
                return [*head, _text(source["data"])]
            case "content":
                return [*head, *self._parts(source.get("content"), f"{where}.source.content")]
            case "base64":
                data = f"data:{source['media_type']};base64,{source['data']}"
                return [{"type": "file", "file": {"filename": title or "document.pdf", "file_data": data}}]
        raise BadInput(f"{where}.source: a document has to come with the request, as text or base64", f"{where}.source")


def _blocks(content: Any, where: str) -> Iterable[tuple[str, Block]]:
    """Each block with its place; a text is a block."""
    if isinstance(content, str):
        return [(where, _text(content))]
    return ((f"{where}[{index}]", block) for index, block in enumerate(content or ()))


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _plain(parts: list[Part], between: str | None) -> str | list[Part]:
    """One text where the parts are no more than that, as any worker takes it. `None`: several stay several."""
    if any(part.keys() != {"type", "text"} for part in parts) or (between is None and len(parts) > 1):
        return parts
    return (between or "").join(part["text"] for part in parts)


def _image(source: Block, where: str) -> str:
    match source["type"]:
        case "base64":
            return f"data:{source['media_type']};base64,{source['data']}"
        case "url":
            return str(source["url"])
    raise BadInput(f"{where}: images have to come with the request, or as a URL; files are not kept here", where)


def _call(block: Block) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"], ensure_ascii=False)}
    mark = {"cache_control": block["cache_control"]} if block.get("cache_control") else {}
    return {"id": block["id"], "type": "function", "function": function, **mark}
