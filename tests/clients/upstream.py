"""A provider on loopback that speaks OpenAI's chat protocol, calls tools, and keeps to formats; run by `started.py`.

Offered tools, and not just told a tool's result, it calls one: the one that the last user message names as in
`CALL name {"argument": "value"}`, else the one that `tool_choice` names, else the first, with arguments made from its
schema. Told a result, it says "The tool said: …". Asked for a JSON schema, it says a value that fits. Else it says
"You said: …". It plans one step for a conductor. GET /seen lists the last bodies that it got.
"""

from __future__ import annotations

import json
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

SEEN: deque[dict[str, Any]] = deque(maxlen=50)
NAMED = re.compile(r"CALL ([\w.-]+) (\{.*\})")
PLAN = 'model_id = [0]\nsubtasks = ["Answer the question"]\naccess_list = [[]]'
WORDS = {"location": "Paris", "city": "Paris", "command": "echo fugu", "cmd": "echo fugu", "path": "note.txt"}
"""What an argument of that name is, if it is a text."""


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or () if isinstance(part, dict))


def value_of(schema: Any, name: str = "", root: Any = None) -> Any:
    """A value that fits a JSON schema; of an object only what is required, or all where nothing is."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        at = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            at = at[step]
        return value_of(at, name, root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return value_of(schema[key][0], name, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields = schema.get("properties", {})
        needed = schema.get("required") or list(fields)
        return {field: value_of(fields.get(field, {}), field, root) for field in needed}
    if kind == "array":
        least = max(1, int(schema.get("minItems", 1)))
        return [value_of(schema.get("items", {}), name, root)] * least
    if kind in ("integer", "number"):
        return max(7, int(schema.get("minimum", 7)))
    return {"boolean": True, "null": None}.get(kind, WORDS.get(name, "Ada"))


def last_of(messages: Sequence[dict[str, Any]], role: str) -> str:
    return next((text_of(message.get("content")) for message in reversed(messages) if message["role"] == role), "")


def call_of(body: dict[str, Any]) -> tuple[str, str] | None:
    """The function to call and its arguments; `None`: none."""
    tools = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    choice = body.get("tool_choice")
    if not tools or choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    named = NAMED.search(last_of(body["messages"], "user"))
    if named is not None and named[1] in [tool["name"] for tool in tools]:
        return named[1], named[2]
    wanted = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else tools[0]["name"]
    tool = next((tool for tool in tools if tool["name"] == wanted), tools[0])
    return tool["name"], json.dumps(value_of(tool.get("parameters") or {}))


def said(body: dict[str, Any]) -> str:
    messages = body["messages"]
    if "You are the conductor" in text_of(messages[0].get("content")):
        return PLAN
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return json.dumps(value_of(form["json_schema"].get("schema", {})))
    if messages[-1]["role"] == "tool":
        return f"The tool said: {text_of(messages[-1].get('content'))[:2000]}"
    if form.get("type") == "json_object":
        return json.dumps({"said": last_of(messages, "user")[:2000]})
    return f"You said: {last_of(messages, 'user')[:2000]}"


def logprobs_of(body: dict[str, Any], words: Sequence[str]) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    most = body.get("top_logprobs") or 0

    def one(word: str) -> dict[str, Any]:
        return {"token": word, "logprob": -0.25, "bytes": list(word.encode())}

    return {"content": [{**one(word), "top_logprobs": [one(word)] * most} for word in words], "refusal": None}


def usage_of(body: dict[str, Any], text: str) -> dict[str, Any]:
    prompt, words = len(json.dumps(body["messages"])) // 4, 1 + len(text.split())
    return {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}


async def chat(request: Request) -> Response:
    body = await request.json()
    SEEN.append(body)
    call = call_of(body)
    text = "" if call else said(body)
    words = re.findall(r"\s*\S+", text) or [text]
    head = {"id": "chatcmpl-scripted", "created": 1, "model": body["model"]}
    finish, calls = "stop", []
    if call:
        finish = "tool_calls"
        function = {"name": call[0], "arguments": call[1]}
        calls = [{"id": f"call_{len(SEEN)}_{len(body['messages'])}", "type": "function", "function": function}]
    usage = usage_of(body, text + json.dumps(calls))

    async def events() -> AsyncIterator[str]:
        def event(delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
            return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

        yield event({"role": "assistant", "content": ""})
        for word in [] if call else words:
            yield event({"content": word}, logprobs=logprobs_of(body, [word]))
        if calls:
            yield event({"tool_calls": [{"index": index, **one} for index, one in enumerate(calls)]})
        yield event({}, finish)
        last = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        yield f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"

    if body.get("stream"):
        return StreamingResponse(events(), media_type="text/event-stream")
    message = {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs_of(body, words)}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


async def seen(request: Request) -> Response:
    return JSONResponse(list(SEEN))


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/seen", seen)])
    listening = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
