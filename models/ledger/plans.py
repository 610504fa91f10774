"""The JSON of a recorded plan, as the table `workflows` holds it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Stored(BaseModel):
    """A field that a later version wrote is kept, so that an older one does not lose it."""

    model_config = ConfigDict(frozen=True, extra="allow")


class StoredStep(_Stored):
    """`index`: in the plan as it was written, from 0; `planned`: the conductor's own step, by ordinal."""

    index: int
    worker: str
    subtask: str
    planned: dict[str, Any]


class StoredFinding(_Stored):
    """What the linter found. `step` counts from 1."""

    code: str
    step: int | None
    message: str
    fatal: bool


class StoredPlan(_Stored):
    """One round's plan. `policy`: the writer's name; `prompt`: the version of its prompt; `request`: who paid for it.

    `ordinals`: the workers' names in the order in which the writer counted them. `texts`, `complaints`: what was
    written, and why it was refused. `calls`: ids of the writer's calls. `steps`: those that are carried out; `pruned`:
    those that nobody reads. `fallback`: why one step on the router's best worker took the plan's place. `previous`:
    the answer of the round before. `memory`: references to ledger rows, not texts. `not_asked`: allowed workers that
    were not offered, since their breakers were open. `salt`: makes the ids under which a client gets tool calls.
    """

    policy: str
    prompt: str
    request: str
    ordinals: tuple[str, ...]
    pruned: tuple[StoredStep, ...] = ()
    fallback: str | None = None
    texts: tuple[str, ...]
    complaints: tuple[str, ...]
    calls: tuple[str, ...]
    findings: tuple[StoredFinding, ...]
    steps: tuple[StoredStep, ...]
    previous: str | None
    memory: tuple[dict[str, Any], ...] = ()
    not_asked: tuple[str, ...] = ()
    salt: str

    @property
    def body(self) -> dict[str, Any]:
        """As JSON values; where everybody could be asked, without the field that says who could not."""
        return self.model_dump(mode="json", exclude=set() if self.not_asked else {"not_asked"})
