"""ToolScale: a request, and the tool calls that fulfil it, for the grader `calls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.grading.benchmarks.row import LeftOut, Made, Row

_FORM = (
    "Reply with a JSON list of the tool calls that fulfil the request, in order, and no more than it needs: "
    '[{"name": …, "arguments": {…}}, …].'
)


def toolscale(row: Row) -> Made:
    """The scenario's instructions, the names of the tools and arguments that are needed, and the calls as reference.
    The dataset has no schemas of tools: their names, in alphabetical order, are all that can be shown."""
    scenario, criteria = row.value("scenario"), row.value("criteria")
    told = scenario.get("instructions") if isinstance(scenario, Mapping) else None
    actions = criteria.get("actions") if isinstance(criteria, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(actions, list) or not actions:
        raise LeftOut("without instructions or an expected call")
    calls = [_call(action) for action in actions]
    names: dict[str, set[str]] = {}
    for call in calls:
        names.setdefault(call["name"], set()).update(call["arguments"])
    tools = "\n".join(f"- {name}({', '.join(sorted(names[name]))})" for name in sorted(names))
    said = [told.get(part) for part in ("task_instructions", "known_info")]
    request = "\n".join(text.strip() for text in said if isinstance(text, str) and text.strip())
    if not request:
        raise LeftOut("without instructions or an expected call")
    domain = told.get("domain")
    task = f"toolscale-{domain.strip()[:100]}" if isinstance(domain, str) and domain.strip() else ""
    return Made(f"Tools:\n{tools}\n\n{request}\n\n{_FORM}", "calls", calls, task=task)


def _call(action: Any) -> dict[str, Any]:
    if not isinstance(action, Mapping) or not isinstance(action.get("name"), str) or not action["name"]:
        raise LeftOut("one of whose calls has no name")
    arguments = action.get("arguments") or {}
    return {"name": action["name"], "arguments": {k: _plain(v) for k, v in arguments.items() if v is not None}}


def _plain(value: Any) -> Any:
    """A value as JSON has it; a date, say, as its text."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if each is not None}
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
