"""litellm handler for the house workers: its four call methods around `provider.complete`, and `register`.

Importing this imports litellm, which takes seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from models.errors import BadInput, NotFound
from models.house.provider import PROVIDER, Completion, complete
from models.workers.translation import load_litellm

litellm = load_litellm()  # before its modules are imported, which would access the network

from litellm.llms.custom_llm import CustomLLM, CustomLLMError  # noqa: E402
from litellm.types.utils import Choices, GenericStreamingChunk, Message, ModelResponse, Usage  # noqa: E402


def _complete(model: str, messages: list[dict[str, Any]], optional_params: dict[str, Any]) -> Completion:
    try:
        return complete(model, messages, optional_params)
    except NotFound as error:
        raise CustomLLMError(status_code=404, message=str(error)) from None
    except BadInput as error:
        raise CustomLLMError(status_code=400, message=f"{error.field}: {error}") from None


def _response(model: str, completion: Completion, response: ModelResponse) -> ModelResponse:
    message = Message(content=completion.text or None, role="assistant", tool_calls=_calls(completion))
    response.choices = [Choices(index=0, message=message, finish_reason=completion.finish_reason)]
    response.usage = Usage(*_tokens(completion))  # type: ignore[attr-defined]
    response.model = f"{PROVIDER}/{model}"
    return response


def _calls(completion: Completion) -> list[dict[str, Any]] | None:
    """The tool call in OpenAI's form."""
    call = completion.call
    if call is None:
        return None
    return [{"id": completion.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}]


def _tokens(completion: Completion) -> tuple[int, int, int]:
    """Prompt, completion, total."""
    prompt, words = completion.prompt_tokens, completion.completion_tokens
    return prompt, words, prompt + words


def _chunks(completion: Completion) -> Iterator[GenericStreamingChunk]:
    for piece in completion.pieces:
        yield GenericStreamingChunk(text=piece, is_finished=False, finish_reason="", usage=None, index=0, tool_use=None)
    for call in _calls(completion) or ():
        use: Any = {**call, "index": 0}
        yield GenericStreamingChunk(text="", is_finished=False, finish_reason="", usage=None, index=0, tool_use=use)
    prompt, words, total = _tokens(completion)
    yield GenericStreamingChunk(
        text="",
        is_finished=True,
        finish_reason=completion.finish_reason,
        usage={"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": total},
        index=0,
        tool_use=None,
    )


class HouseHandler(CustomLLM):
    """Stateless. Raises CustomLLMError (404) for an unknown worker."""

    def completion(  # type: ignore[override]
        self,
        model: str,
        messages: list[dict[str, Any]],
        model_response: ModelResponse,
        optional_params: dict[str, Any],
        **_: Any,
    ) -> ModelResponse:
        return _response(model, _complete(model, messages, optional_params), model_response)

    async def acompletion(  # type: ignore[override]
        self,
        model: str,
        messages: list[dict[str, Any]],
        model_response: ModelResponse,
        optional_params: dict[str, Any],
        **_: Any,
    ) -> ModelResponse:
        return _response(model, _complete(model, messages, optional_params), model_response)

    def streaming(  # type: ignore[override]
        self, model: str, messages: list[dict[str, Any]], optional_params: dict[str, Any], **_: Any
    ) -> Iterator[GenericStreamingChunk]:
        return _chunks(_complete(model, messages, optional_params))

    async def astreaming(  # type: ignore[override]
        self, model: str, messages: list[dict[str, Any]], optional_params: dict[str, Any], **_: Any
    ) -> AsyncIterator[GenericStreamingChunk]:
        for chunk in _chunks(_complete(model, messages, optional_params)):
            yield chunk


def register() -> None:
    """Register the provider with litellm. Idempotent."""
    if any(entry["provider"] == PROVIDER for entry in litellm.custom_provider_map):
        return
    litellm.custom_provider_map.append({"provider": PROVIDER, "custom_handler": HouseHandler()})
    litellm.utils.custom_llm_setup()
