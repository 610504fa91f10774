"""The app of a local model's process: OpenAI's chat completions, the list of its one model, and a probe."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from functools import partial

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.doors import Doors
from deployments.endpoint.answer.result import Result, Text
from deployments.endpoint.wire.problems import CLIENT_GONE, Problem, problem_response
from deployments.endpoint.wire.response import Completion, event
from deployments.endpoint.wire.streaming import read_body
from deployments.local.generation import Ended, LanguageModel
from deployments.local.line import Line, Turn
from deployments.local.request import ChatRequest, read_request
from models.errors import BadInput, RateLimited
from models.workers.ask import Usage

MOST_BYTES, BODY_S = 32 * 2**20, 60.0
"""Of a request's body, and the seconds in which it has to come: as the endpoint's by default."""


class LocalApp:
    """Serves one model, `name`, to callers with its key. `length`: how many requests may wait."""

    def __init__(self, name: str, model: LanguageModel, key: str, length: int) -> None:
        self._name, self._model, self._key = name, model, key
        self._line, self._since = Line(length), int(time.time())

    def app(self) -> Doors:
        routes = [
            Route("/livez", self._live),
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
        ]
        return Doors(Starlette(routes=routes, exception_handlers={Problem: _answered}))

    async def _live(self, request: Request) -> Response:
        return Response("ok")

    async def _models(self, request: Request) -> Response:
        self._check_key(request)
        entry = {"id": self._name, "object": "model", "created": self._since, "owned_by": "local"}
        more = {"max_model_len": self._model.context, "chat_template": template_of(self._model)}
        return JSONResponse({"object": "list", "data": [entry | more]})

    async def _chat(self, request: Request) -> Response:
        self._check_key(request)
        try:
            chat = read_request(await read_body(request, MOST_BYTES, BODY_S))
            self._check_model(chat)
            ids = await asyncio.to_thread(self._model.prompt, chat.conversation, chat.chat_template_kwargs)
            self._check_length(ids)
            turn = self._line.join(partial(self._model.generate, ids, chat.wanted()))
        except ClientDisconnect:
            return Response(status_code=CLIENT_GONE)
        except BadInput as error:
            raise Problem(400, str(error), code="invalid_value", param=error.field) from None
        except RateLimited as error:
            headers = {"Retry-After": str(int(error.retry_after or 1))}
            raise Problem(429, str(error), "rate_limit_error", "line_full", headers=headers) from None
        watch = asyncio.create_task(_leave_with(request, turn))
        answer = _Answer(self._name, chat, len(ids), turn, watch)
        try:
            first = await anext(answer.items)
        except BaseException as error:
            answer.close()
            if isinstance(error, Exception):
                raise _failed() from None
            raise
        if chat.stream:
            return StreamingResponse(answer.events(first), media_type="text/event-stream")
        return await answer.whole(first)

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Problem(401, "the key of this home's local models is needed", code="invalid_api_key")

    def _check_model(self, chat: ChatRequest) -> None:
        if chat.model != self._name:
            raise Problem(404, f"this process serves {self._name}", code="model_not_found", param="model")

    def _check_length(self, ids: list[int]) -> None:
        if len(ids) >= self._model.context:
            message = f"the prompt has {len(ids)} tokens, and the model reads {self._model.context} with its answer"
            raise Problem(400, message, code="context_length_exceeded", param="messages")


class _Answer:
    """One answer on its way to the client."""

    def __init__(self, name: str, chat: ChatRequest, prompt: int, turn: Turn, watch: asyncio.Task[None]) -> None:
        self._prompt, self._turn, self._watch = prompt, turn, watch
        self._rendering = Completion(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), name, chat.counts)
        self.items: AsyncIterator[str | Ended] = turn.items()

    def close(self) -> None:
        self._turn.leave()
        self._watch.cancel()

    async def whole(self, first: str | Ended) -> Response:
        text, item = "", first
        try:
            while isinstance(item, str):
                text += item
                item = await anext(self.items)
        except Exception:  # the line has logged it
            return problem_response(_failed())
        finally:
            self.close()
        if item.finish_reason == "cancelled":
            return Response(status_code=CLIENT_GONE)
        return Response(self._rendering.whole(self._result(item, text), None), media_type="application/json")

    async def events(self, first: str | Ended) -> AsyncGenerator[bytes]:
        """The stream's events: a role, the texts, the finish reason, the usage where it was asked for, `[DONE]`."""
        item = first
        try:
            yield self._rendering.opening()
            while isinstance(item, str):
                yield self._rendering.delta(Text(item))
                item = await anext(self.items)
            if item.finish_reason == "cancelled":
                return
            for each in self._rendering.closing(self._result(item, None), None):
                yield each
        except Exception:  # the line has logged it
            yield event(_failed().body())
        finally:
            self.close()

    def _result(self, ended: Ended, text: str | None) -> Result:
        usage = Usage(prompt_tokens=self._prompt, completion_tokens=ended.tokens)
        return Result(text, (), ended.finish_reason, usage)


def _failed() -> Problem:
    return Problem(500, "the model failed; its log says why", "server_error", "model_failed")


def template_of(model: LanguageModel) -> str:
    """Whose chat template is used: the tokenizer's `own`, or where that has none the `plain` one."""
    return "own" if model.has_template else "plain"


async def _answered(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem_response(problem)


async def _leave_with(request: Request, turn: Turn) -> None:
    """Ends the turn when the client goes away. The body has been read, so that nothing else can come."""
    with suppress(asyncio.CancelledError):
        while (await request.receive())["type"] != "http.disconnect":
            pass
        turn.leave()
