"""Prefect's `flow` and `task` that keep texts of users and workers out of Prefect (see `tasks/setup/texts.py`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Coroutine
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect import Flow, Task

from tasks.setup.texts import are_literal, shown, unquoted

P = ParamSpec("P")
T = TypeVar("T")
Body = Callable[P, Coroutine[Any, Any, T]]

QUESTIONS = "questions"


class QuietFlow(Flow[P, Any]):
    """A flow that does not record literal questions in its parameters where it will refuse them.

    `unrecorded`: its parameters that Prefect does not record, neither: live objects, and what is too large for it.
    """

    unrecorded: Collection[str] = ()

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in parameters.items() if name not in self.unrecorded}
        recorded = super().serialize_parameters(kept)
        if QUESTIONS in recorded and are_literal(recorded[QUESTIONS]) and not shown():
            del recorded[QUESTIONS]
        return recorded


def flow(
    *, unrecorded: Collection[str] = (), **options: Any
) -> Callable[[Body[P, T]], Flow[P, Coroutine[Any, Any, T]]]:
    """`prefect.flow`, but a failed run's state names the error without quoting texts.

    `unrecorded`: parameters of a subflow that Prefect neither checks nor records.
    """

    def made(body: Body[P, T]) -> Flow[P, Coroutine[Any, Any, T]]:
        run = _unquoted(body)
        # Prefect reads the parameters' types, evaluated in the body's module; of live objects it gets none.
        found = inspect.signature(body, eval_str=True)
        types = [p.replace(annotation=Any) if p.name in unrecorded else p for p in found.parameters.values()]
        run.__signature__ = found.replace(parameters=types)  # type: ignore[attr-defined]
        quiet = QuietFlow(run, **{"validate_parameters": not unrecorded, **options})
        quiet.unrecorded = unrecorded
        return quiet

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
