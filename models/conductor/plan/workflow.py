"""A workflow: steps of worker, subtask and access list, parsed from free text and linted before any step is paid for.

Source: Conductor (arXiv 2512.04388) and its released code, for the spellings that models use. A plan is data and never
evaluated. A text without a plan is a value too (`Malformed`), since training rewards it with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.conductor.plan import lists
from models.conductor.plan.lists import NAMES, Listed, Unreadable, Value, Window, plan_of
from models.ledger.text import storable

NO_SKILLS: Mapping[str, int] = {}
MAX_CHARS = 1 << 18
"""Characters of a completion; of a longer one only the end is read."""

Access = tuple[int, ...] | Literal["all"]
Cost = Callable[["Workflow", int], float]
"""(plan, index of a step) -> the maximum cost of the step's call, USD."""


class Step(BaseModel):
    """`model`: the worker's ordinal in the prompt, `access`: the steps whose replies it sees, both counted from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: int
    subtask: str
    access: Access = ()


class Workflow(BaseModel):
    """Steps in order; the last one answers. Without steps, the previous answer is accepted unchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...]

    def sees(self, index: int) -> tuple[int, ...]:
        """The steps that a step sees, in order: never itself or a later one, whatever its access list says."""
        access = self.steps[index].access
        return tuple(i for i in range(index) if access == "all" or i in access)


@dataclass(frozen=True)
class Malformed:
    """A text that holds no workflow.

    Codes: missing-list, unreadable-list, unreadable-entry, unequal-lengths; `step`, from 0, is the first faulty
    one, where a single step is at fault.
    """

    reason: str
    code: str = "missing-list"
    step: int | None = None


@dataclass(frozen=True)
class PlanLimits:
    """`max_steps`: the default is Conductor's (arXiv 2512.04388)."""

    max_steps: int = 5
    max_subtask_chars: int = 4000


@dataclass(frozen=True)
class Finding:
    """A fault of a plan. `step` counts from 0, `None` where no single step is at fault.

    Codes: too-many-steps, no-steps, unknown-model, masked-model, forward-reference, empty-subtask, long-subtask,
    too-expensive, those of `Malformed`, and unread-step, the only one that is not fatal.
    """

    code: str
    step: int | None
    message: str
    fatal: bool = True

    @property
    def complaint(self) -> str:
        """The message for the plan writer, whose lists count steps from 0."""
        return self.message if self.step is None else f"step {self.step} (counted from 0): {self.message}"

    @property
    def numbered_message(self) -> str:
        """The message for everyone else, counting steps from 1."""
        return self.message if self.step is None else f"step {self.step + 1}: {self.message}"


def parse(text: str, *, skills: Mapping[str, int] = NO_SKILLS, max_chars: int = MAX_CHARS) -> Workflow | Malformed:
    """The last complete plan of a completion: three lists of equal length, one of each name. Never raises.

    `skills`: names that are accepted instead of a model's number. Linear in the text. If no three neighbouring lists
    fit, a repeated list replaces the earlier one of its name.
    """
    text = text[-max_chars:]
    latest: dict[str, Listed | Malformed] = {}
    joined: Window | None = None

    def readable() -> Iterator[Listed]:
        nonlocal joined
        for name, values, place in lists.named_lists(text):
            latest[name] = listed = _typed(name, values, place, skills)
            if isinstance(listed, Listed):
                joined = _fitting(latest) or joined
                yield listed

    found = plan_of(readable(), text) or joined
    return _workflow(found) if found else Malformed(*_complaint(latest))


def _typed(
    name: str, values: list[Value] | Unreadable, place: tuple[int, int], skills: Mapping[str, int]
) -> Listed | Malformed:
    if isinstance(values, Unreadable):
        return Malformed(f"{name}: {values}", "unreadable-list")
    read, wanted = _READERS[name]
    named = skills if name == "model_id" else NO_SKILLS
    entries = [named[value] if isinstance(value, str) and value in named else read(value) for value in values]
    if None in entries:
        step = entries.index(None)
        return Malformed(f"{name}: entry {step} (counted from 0) is not {wanted}", "unreadable-entry", step)
    return Listed(name, entries, *place)


def _text(value: Value) -> str | None:
    """The text without characters that encoders or databases reject."""
    if not isinstance(value, str):
        return None
    return storable(value)


def _access(value: Value) -> Access | None:
    entries = value if isinstance(value, list) else [value]
    words = [entry.strip().lower() if isinstance(entry, str) else entry for entry in entries]
    if "all" in words:
        return "all"
    numbers = [lists.number(word) for word in words if word not in (None, "none", "null")]
    named = tuple(number for number in numbers if number is not None)
    return tuple(dict.fromkeys(named)) if len(named) == len(numbers) else None


_READERS: dict[str, tuple[Callable[[Value], int | str | Access | None], str]] = {
    "model_id": (lists.number, "a model's number"),
    "subtasks": (_text, "a text"),
    "access_list": (_access, 'one of [], ["all"], [0, 1]'),
}


def _fitting(lists: Mapping[str, Listed | Malformed]) -> Window | None:
    three = [lists.get(name) for name in NAMES]
    first, second, third = three
    if isinstance(first, Listed) and isinstance(second, Listed) and isinstance(third, Listed):
        window = first, second, third
        return window if len({len(listed.entries) for listed in window}) == 1 else None
    return None


def _workflow(window: Window) -> Workflow:
    lists = {listed.name: listed.entries for listed in window}
    rows = zip(*(lists[name] for name in NAMES), strict=True)
    return Workflow(steps=tuple(Step(model=model, subtask=subtask, access=access) for model, subtask, access in rows))


def _complaint(lists: Mapping[str, Listed | Malformed]) -> tuple[str, str, int | None]:
    """Reason, code and step."""
    missing = [name for name in NAMES if name not in lists]
    if missing:
        return f"there is no list {' and no list '.join(missing)}", "missing-list", None
    lengths = {}
    for name in NAMES:
        listed = lists[name]
        if isinstance(listed, Malformed):
            return listed.reason, listed.code, listed.step
        lengths[name] = len(listed.entries)
    counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
    return f"the three lists differ in their number of entries: {counts}", "unequal-lengths", min(lengths.values())


def lint(
    workflow: Workflow,
    *,
    allowed: Sequence[bool],
    limits: PlanLimits = PlanLimits(),
    worst_usd: Cost | None = None,
    max_usd: float | None = None,
    accepting: bool = False,
) -> tuple[Finding, ...]:
    """The faults of a plan, fatal or not.

    `allowed`: by ordinal, whether the worker may be asked. `accepting`: a plan without steps is legal. With `worst_usd`
    and `max_usd`, the summed worst case of all steps that are read must not exceed the cap.
    """
    findings = [] if workflow.steps or accepting else [Finding("no-steps", None, "the plan has no step")]
    if len(workflow.steps) > limits.max_steps:
        message = f"the plan has {len(workflow.steps)} steps, and at most {limits.max_steps} may be planned"
        findings.append(Finding("too-many-steps", limits.max_steps, message))
    for index, step in enumerate(workflow.steps):
        faults = _faults(index, step, allowed, limits)
        findings += (Finding(code, index, message) for code, message in faults)
    if not findings and worst_usd is not None and max_usd is not None:
        cost = sum(worst_usd(workflow, index) for index in sorted(_read(workflow)))
        if cost > max_usd:
            findings.append(Finding("too-expensive", None, f"may cost ${cost:.4f}, of which ${max_usd:.4f} is allowed"))
    read = _read(workflow)
    for index in range(len(workflow.steps)):
        if index not in read:
            message = "nothing that leads to the answer reads it"
            findings.append(Finding("unread-step", index, message, fatal=False))
    return tuple(findings)


@dataclass(frozen=True)
class Review:
    """A completion, read and linted. `workflow`: None where it could not be read, though its faults may be fatal.

    `findings`: what was found; `complaint`: the fatal ones for whoever wrote it, "" where the plan may be carried out.
    """

    workflow: Workflow | None
    findings: tuple[Finding, ...]
    complaint: str


def review(
    text: str,
    *,
    skills: Mapping[str, int] = NO_SKILLS,
    allowed: Sequence[bool],
    limits: PlanLimits = PlanLimits(),
    worst_usd: Cost | None = None,
    max_usd: float | None = None,
    accepting: bool = False,
) -> Review:
    """`parse`, then `lint`, of a completion's text."""
    found = parse(text, skills=skills)
    if isinstance(found, Malformed):
        return Review(None, (Finding(found.code, found.step, found.reason),), found.reason)
    findings = lint(found, allowed=allowed, limits=limits, worst_usd=worst_usd, max_usd=max_usd, accepting=accepting)
    return Review(found, findings, "; ".join(finding.complaint for finding in findings if finding.fatal))


def pruned(workflow: Workflow) -> tuple[Workflow, tuple[int, ...]]:
    """The plan without steps that do not reach the answer, and the remaining indices, in order.

    References are renumbered; subtasks are unchanged and may name steps by their old numbers.
    """
    kept = tuple(sorted(_read(workflow)))
    new = {old: index for index, old in enumerate(kept)}
    steps = []
    for old in kept:
        step = workflow.steps[old]
        access = step.access if step.access == "all" else tuple(new[i] for i in step.access if i in new)
        steps.append(step.model_copy(update={"access": access}))
    return Workflow(steps=tuple(steps)), kept


def _faults(index: int, step: Step, allowed: Sequence[bool], limits: PlanLimits) -> Iterator[tuple[str, str]]:
    if not 0 <= step.model < len(allowed):
        yield "unknown-model", f"there is no Model {step.model}"
    elif not allowed[step.model]:
        yield "masked-model", f"Model {step.model} may not be asked"
    later = [] if step.access == "all" else [i for i in step.access if not 0 <= i < index]
    if later:
        yield "forward-reference", f"it can only see steps before it (counted from 0), not {', '.join(map(str, later))}"
    if not step.subtask.strip():
        yield "empty-subtask", "its subtask is empty"
    elif len(step.subtask) > limits.max_subtask_chars:
        yield "long-subtask", f"its subtask is longer than {limits.max_subtask_chars} characters"


def _read(workflow: Workflow) -> set[int]:
    """The last step and every step whose reply can reach it."""
    read = {len(workflow.steps) - 1} if workflow.steps else set()
    for index in reversed(range(len(workflow.steps))):
        if index in read:
            read.update(workflow.sees(index))
    return read
