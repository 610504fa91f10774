"""Parser of workers' replies in OpenAI's format, whole or in chunks, tolerant of the providers' deviations."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.errors import UpstreamBroken, UpstreamMalformed, UpstreamUnavailable
from models.ledger.text import storable
from models.workers.finish import finish_of
from models.workers.fitting.logprobs import ENTRY_BYTES, read
from models.workers.pool import Worker
from models.workers.upstream import complaint, failed, masked

SLACK_BYTES, BYTES_A_TOKEN = 16_384, 64
"""The bytes of text, thoughts and tool calls that are kept, constant and per token: a reply within its token limit is
never longer; a longer one is cut."""

STOPPED_AT = ("stop_reason", "matched_stop")
"""Fields in which vLLM and SGLang say at which of the request's stops a reply ended."""

THOUGHTS = frozenset({"thinking", "reasoning", "redacted_thinking"})


@dataclass
class _Joined:
    """A text that arrives in pieces; the halves of a surrogate pair in two pieces are joined to one character."""

    pieces: list[str] = field(default_factory=list)
    _half: str = ""

    def add(self, piece: str) -> str:
        """Add a piece; return what can be passed on. Half a surrogate pair at its end is held until the next piece."""
        piece = self._half + piece
        self._half = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        return self._keep(piece.removesuffix(self._half) if self._half else piece)

    def end(self) -> str:
        half, self._half = self._half, ""
        return self._keep(half)

    def _keep(self, piece: str) -> str:
        piece = storable(piece)
        if piece:
            self.pieces.append(piece)
        return piece

    def __str__(self) -> str:
        return "".join(self.pieces)


@dataclass(eq=False)
class _Call:
    """A tool call that arrives in pieces. `given`, `place`: the upstream's id and index, which calls may share.

    `begun`: whether its first piece has been passed on.
    """

    given: str | None
    place: Any
    id: str
    name: str = ""
    arguments: _Joined = field(default_factory=_Joined)
    begun: bool = False

    def without_parameters(self) -> str:
        """Add and return `{}` if the arguments are empty, which is not JSON; else ""."""
        return "" if str(self.arguments).strip() else self.arguments.add("{}")

    def is_followed_by(self, name: str, arguments: str) -> bool:
        """Whether a piece with a name and arguments belongs to a new call, since this one is complete."""
        if not (name and arguments and self.name):
            return False
        try:
            json.loads(str(self.arguments))
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class Piece:
    """The part of a reply in one chunk: text, tool calls (OpenAI's streaming format, indices from 0), logprobs, and the
    worker's visible reasoning."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()
    thoughts: str = ""


class Saying:
    """One reply, assembled from its chunks; `tokens`: the limit that was sent. Text beyond `most` bytes is `cut` off.
    `entries`: log probabilities a token, with the alternatives that were asked for; 0: none are kept.

    A whole reply is a stream of one chunk. `add` and `end` raise UpstreamMalformed for a reply that cannot be parsed,
    UpstreamBroken where the worker reports a failure, and the error of `upstream.failed` for an error object in place
    of a chunk. `stopped_at`: the stop at which the reply ended, where the worker says so.
    """

    def __init__(self, worker: Worker, tokens: int, entries: int = 0) -> None:
        own = SLACK_BYTES + BYTES_A_TOKEN * tokens
        self.tokens, self.most = tokens * (1 + entries), own + ENTRY_BYTES * entries * tokens
        self._worker, self._left = worker, own
        self._logprobs: list[dict[str, Any]] = []
        self._entries = tokens if entries else 0
        self._text, self._thoughts = _Joined(), _Joined()
        self._calls: list[_Call] = []
        self._finish: str | None = None
        self._spoken = self._begun = False
        self.usage: Any = None
        self.stopped_at: str | None = None
        self.cut = False

    def add(self, chunk: Any) -> Piece:
        """Add a chunk; return what it adds to the reply."""
        if not isinstance(chunk, Mapping):
            raise self.malformed(f"a chunk is {type(chunk).__name__}, not an object")
        error = chunk.get("error")
        if error or chunk.get("object") == "error":
            raise failed(error or chunk, self._worker, self._begun)
        self.usage = chunk.get("usage") or self.usage
        choices = chunk.get("choices")
        if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
            return Piece()
        choice = choices[0]
        if not isinstance(choice, Mapping):
            raise self.malformed("a choice is not an object")
        self._begun = True
        delta = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        piece = self._read(delta) if isinstance(delta, Mapping) else Piece()
        if self._entries > len(self._logprobs):
            kept = read(choice.get("logprobs"), self._entries - len(self._logprobs))
            self._logprobs += kept
            piece = replace(piece, logprobs=tuple(kept))
        for name in STOPPED_AT:
            if isinstance(text := choice.get(name), str):
                self.stopped_at = storable(text)
        self._stop(choice.get("finish_reason"))
        return piece

    def end(self, complete: bool) -> Piece:
        """End the reply; return what is left to pass on. `complete`: the upstream marked the end of the reply.

        Raises UpstreamUnavailable if there was neither that nor a finish reason: the stream was cut off.
        """
        if self._finish is None and not complete and not self.cut:
            raise UpstreamUnavailable(f"worker {self._worker.name!r}: the stream was cut", maybe_paid=True)
        if not self._begun:
            raise self.malformed("the reply holds no choice")
        if any(not call.name for call in self._calls):
            raise self.malformed("a tool call has no name")
        rest = [call.arguments.end() or call.without_parameters() for call in self._calls]
        calls = tuple({"index": index, "function": {"arguments": text}} for index, text in enumerate(rest) if text)
        return Piece(self._text.end(), calls, thoughts=self._thoughts.end())

    def malformed(self, why: str) -> UpstreamMalformed:
        return UpstreamMalformed(complaint(why, self._worker))

    @property
    def text(self) -> str | None:
        """The reply's text; `None` where it has none."""
        text = str(self._text)
        return text if text or (self._spoken and not self._calls) else None

    @property
    def thoughts(self) -> str | None:
        return str(self._thoughts) or None

    @property
    def logprobs(self) -> tuple[dict[str, Any], ...] | None:
        return tuple(self._logprobs) or None

    @property
    def tool_calls(self) -> tuple[dict[str, Any], ...]:
        return tuple(
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": str(call.arguments)}}
            for call in self._calls
        )

    @property
    def finish_reason(self) -> str:
        if self.cut:
            return "length"
        if self._finish in (None, "stop", "tool_calls"):
            return "tool_calls" if self._calls else "stop"
        return self._finish or "stop"

    @property
    def generated(self) -> str:
        """All that was generated: text, thoughts and tool calls."""
        calls = [f"{call.name} {call.arguments}" for call in self._calls]
        return "".join([str(self._text), str(self._thoughts), *calls])

    def _stop(self, word: Any) -> None:
        if word is None or word == "":
            return
        meaning = finish_of(word)
        if meaning is None:
            said = masked(str(word)[:1000], self._worker)[:100]
            raise UpstreamBroken(complaint(f"it failed, finishing with {said!r}", self._worker))
        self._finish = self._finish or meaning

    def _read(self, delta: Mapping[str, Any]) -> Piece:
        text, thoughts = spoken(delta.get("content"))
        if text is None:
            text, _ = spoken(delta.get("refusal"))
        self._spoken |= text is not None
        for name in ("reasoning_content", "reasoning", "thinking"):
            if delta.get(name) and not thoughts:
                thoughts = "".join(part or "" for part in spoken(delta[name]))
        thought = self._thoughts.add(self._fitting(thoughts))
        said = self._text.add(self._fitting(text or ""))
        calls = delta.get("tool_calls") or ()
        if not calls and delta.get("function_call"):
            calls = [{"function": delta["function_call"], "index": 0}]
        if not isinstance(calls, Sequence) or isinstance(calls, str):
            raise self.malformed("tool_calls is not a list")
        return Piece(said, tuple(piece for call in calls for piece in self._call(call)), thoughts=thought)

    def _call(self, part: Any) -> Iterable[dict[str, Any]]:
        """Add a piece of a tool call; the pieces to pass on."""
        function = part.get("function") if isinstance(part, Mapping) else None
        if not isinstance(function, Mapping):
            raise self.malformed("a tool call has no function")
        id, name, arguments = part.get("id"), function.get("name"), function.get("arguments")
        name = storable(name) if isinstance(name, str) else ""
        if not isinstance(arguments, str):
            arguments = "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
        call = self._find(storable(str(id)) if id else None, part.get("index"), name, arguments)
        call.name = call.name or name
        piece = call.arguments.add(self._fitting(arguments))
        if not call.name:
            return
        index = self._calls.index(call)
        if call.begun:
            if piece:
                yield {"index": index, "function": {"arguments": piece}}
            return
        call.begun = True
        whole = {"name": call.name, "arguments": str(call.arguments)}
        yield {"index": index, "id": call.id, "type": "function", "function": whole}

    def _find(self, id: str | None, place: Any, name: str, arguments: str) -> _Call:
        """The call that a piece belongs to: the call with its id, else the last one with its index, else a new one."""
        here = [call for call in self._calls if place is None or call.place == place][-1:]
        found = [call for call in self._calls if call.given == id][-1:] if id is not None else here
        if not found:  # a call's id may arrive after its name
            found = [call for call in here if call.given is None and not (call.name and name)]
        elif found[0].is_followed_by(name, arguments):
            found = []
        if not found:
            taken = id is not None and any(call.id == id for call in self._calls)
            found = [_Call(id, place, f"call_{uuid.uuid4().hex[:24]}" if id is None or taken else id)]
            self._calls += found
        found[0].given = found[0].given or id
        return found[0]

    def _fitting(self, text: str) -> str:
        """The beginning of the text that fits the bytes left; sets `cut` if that is not all."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > self._left:
            self.cut = True
            text = text.encode("utf-8", "surrogatepass")[: self._left].decode("utf-8", "ignore")
        self._left -= min(size, self._left)
        return text


def spoken(content: Any) -> tuple[str | None, str]:
    """The text and the thoughts in a message's content, which is a text or a list of parts of several kinds."""
    if content is None or isinstance(content, str):
        return content, ""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence):
        return json.dumps(content), ""
    words: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, Mapping):
            kind = part.get("type")
            of_thoughts = isinstance(kind, str) and kind in THOUGHTS
            (thoughts if of_thoughts else words).append(_flat(part, kind))
    return "".join(words), "".join(thoughts)


def _flat(part: Mapping[str, Any], kind: Any) -> str:
    """The text of one part, in its field `text`, `value` or the one named like its kind, which may hold parts."""
    held = next((part[name] for name in ("text", kind, "value") if isinstance(name, str) and part.get(name)), "")
    inner = held if isinstance(held, list) else [held]
    return "".join(
        piece if isinstance(piece, str) else str(piece.get("text") or piece.get("value") or "")
        for piece in inner
        if isinstance(piece, str | Mapping)
    )
