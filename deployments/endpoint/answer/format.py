"""The protocol of a wire format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from deployments.endpoint.answer.question import Key, Question
from deployments.endpoint.answer.result import Delta, Result
from deployments.endpoint.bounds import Bounds
from deployments.endpoint.wire.problems import Problem


class Rendering(Protocol):
    """Writes one answer, whole or as server-sent events; may hold the state of the stream. `trace`: `None` for none."""

    def whole(self, result: Result, trace: Mapping[str, Any] | None) -> bytes: ...

    def opening(self) -> bytes:
        """Before the first delta, and before the end of an answer without one."""

    def delta(self, delta: Delta) -> bytes: ...

    def closing(self, result: Result, trace: Mapping[str, Any] | None) -> Iterable[bytes]: ...


class WireFormat(Protocol):
    """Reads requests and writes answers and errors. Keys of two paths are two keys."""

    path: str
    id_prefix: str
    heartbeat: bytes
    """What is sent while there is nothing else to send."""
    statuses: Mapping[int, int]
    """Statuses of errors that are others in this form."""

    @property
    def slow(self) -> bool:
        """Whether the next question takes seconds to read, because what reads it is not imported yet."""

    def question(self, id: str, key: Key | None, headers: Mapping[str, str], body: bytes, within: Bounds) -> Question:
        """Raises BadInput, with the field's name. May run in a thread."""

    def rendering(self, question: Question, id: str, created: int) -> Rendering: ...

    def error(self, problem: Problem) -> dict[str, Any]:
        """The body of an error answer."""

    def failure(self, problem: Problem, rendering: Rendering) -> bytes:
        """What ends a stream that has failed, maybe before its opening."""
