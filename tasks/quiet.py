"""Prefect's `flow` and `task` that keep texts of users and workers out of Prefect (see `tasks/setup/texts.py`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any, Generic, ParamSpec, TypeVar, get_origin

import prefect
from prefect import Flow, Task

from tasks.setup.runner import SettingsRunner
from tasks.setup.texts import are_literal, shown, unquoted

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")
Body = Callable[P, Coroutine[Any, Any, T]]

QUESTIONS = "questions"


class Live(Generic[V]):
    """A live object as a parameter of a subflow. Prefect neither checks nor records it, and it does not go along where
    a flow's parameters travel with its tasks to another process."""

    def __init__(self, value: V) -> None:
        self._value: V | None = value

    @property
    def value(self) -> V:
        """The object. Raises LookupError in another process."""
        if self._value is None:
            raise LookupError("a live object of a flow was left in the flow's process")
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Live, (None,)


class QuietFlow(Flow[P, Any]):
    """A flow that does not record literal questions in its parameters where it will refuse them, nor live objects."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        recorded = super().serialize_parameters({k: v for k, v in parameters.items() if not isinstance(v, Live)})
        if QUESTIONS in recorded and are_literal(recorded[QUESTIONS]) and not shown():
            del recorded[QUESTIONS]
        return recorded

    def __reduce__(self) -> tuple[Any, ...]:
        """A task in another process needs only its flow's name: the body and all that it refers to stay here."""
        return _only_named, (self.name,)


@lru_cache(maxsize=64)
def _only_named(name: str) -> Flow[[], Any]:
    async def elsewhere() -> None: ...

    return Flow(elsewhere, name=name)


def flow(**options: Any) -> Callable[[Body[P, T]], Flow[P, Coroutine[Any, Any, T]]]:
    """`prefect.flow`, but a failed run's state names the error without quoting texts, and its tasks are submitted to
    the runner that the settings name."""

    def made(body: Body[P, T]) -> Flow[P, Coroutine[Any, Any, T]]:
        run = _unquoted(body)
        # Prefect reads the parameters' types, to be evaluated in the body's module; it does not know those of objects.
        found = inspect.signature(body, eval_str=True)
        types = [
            p.replace(annotation=Any) if get_origin(p.annotation) is Live else p for p in found.parameters.values()
        ]
        run.__signature__ = found.replace(parameters=types)  # type: ignore[attr-defined]
        return QuietFlow(run, **{"task_runner": SettingsRunner(), **options})

    return made


def task(**options: Any) -> Callable[[Body[P, T]], Task[P, Coroutine[Any, Any, T]]]:
    """`prefect.task`, but a failed run's state names the error without quoting texts."""
    return lambda body: prefect.task(**options)(_unquoted(body))


def _unquoted(body: Body[P, T]) -> Body[P, T]:
    @functools.wraps(body)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await body(*args, **kwargs)
        except Exception as error:
            if (plain := unquoted(error)) is error:
                raise
            raise plain from None

    return run
