"""Plans as models write them, in every spelling, and damaged: the texts of the parser's tests and of its benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from models.conductor.plan.workflow import Access, Step, Workflow


def _between(opening: str, closing: str, escaped: str, raw_lines: bool = False) -> Callable[[str], str]:
    def quote(text: str) -> str:
        for sign in "\\" + escaped:
            text = text.replace(sign, "\\" + sign)
        return opening + (text if raw_lines else text.replace("\n", "\\n")) + closing

    return quote


QUOTES: dict[str, Callable[[str], str]] = {
    "python": repr,
    "single": _between("'", "'", "'"),
    "json": json.dumps,
    "double": _between('"', '"', '"'),
    "triple": _between('"""', '"""', '"', raw_lines=True),
    "triple single": _between("'''", "'''", "'", raw_lines=True),
    "typographic": _between("“", "”", "“”"),
    "typographic single": _between("‘", "’", "‘’"),
}
NAMES = {"plain": "{}", "double": '"{}"', "single": "'{}'", "bold": "**{}**", "code": "`{}`"}
SIGNS = (" = ", "=", ": ", ":", " :\n", ": list[str] = ")
MODELS: dict[str, Callable[[int], str]] = {
    "number": str,
    "label": lambda n: f'"Model {n}"',
    "digits": lambda n: f"'{n}'",
    "bare label": lambda n: f"Model {n}",
}
NOISE = (
    "",
    "Let me think about who is good at this. ",
    "It's not hard: the model_id of each step comes first, then the subtasks.\n",
    "An access_list of [] hides everything (subtasks stay short).\n\n",
    "Models: 'a', \"b\" and [c]. ",
    "<think>model_id could be [0], or = 1</think>\n",
)
DRAFTS = (
    "An access_list = ['all', 'all'] would let both see everything. ",
    "Draft: subtasks = ['x', 'y'], access_list = [[], []].\n",
    "First idea: model_id = [0, 1], subtasks = ['x', 'y']; but no.\n\n",
    "Is one step enough, with access_list = [[]] and subtasks = ['z']? ",
)
"""Lists that a plan is thought about with, before it is written: some of them fit into it."""
WORDS = ["Draft", "the poem's", "title", "(x)", "[1, 2]", "model_id = [9]", '"quoted"', "'q', 'r'", "a,b", "{}", "\\n"]
WORDS += ["\n", "\t", "naïve", "“so”", "‘y’, z", "日本", "🎻", "```", "#", "// x", "subtasks: ['z']", "\\", "%", "all"]


@dataclass(frozen=True)
class Spelling:
    """`order`: of the lists. `wrap`: around all three. `short`: access lists in their shorter forms. `before`: what
    stands before all of it. Where the order is another than the usual one and remarks stand between the lists, nobody
    could tell a draft's lists from the plan's.
    """

    quote: str = "python"
    name: str = "plain"
    sign: str = " = "
    model: str = "number"
    order: tuple[str, ...] = ("model_id", "subtasks", "access_list")
    rows: bool = False
    trailing: bool = False
    short: bool = False
    wrap: str = "none"
    noise: tuple[str, ...] = ("", "", "")
    before: str = ""


def spelling(draw: Random) -> Spelling:
    order = ["model_id", "subtasks", "access_list"]
    if draw.random() < 0.3:
        draw.shuffle(order)
    before = draw.choice(DRAFTS) if draw.random() < 0.4 else ""
    remarks = not before or order == ["model_id", "subtasks", "access_list"]
    return Spelling(
        quote=draw.choice(list(QUOTES)),
        name=draw.choice(list(NAMES)),
        sign=draw.choice(SIGNS),
        model=draw.choice(list(MODELS)),
        order=tuple(order),
        rows=draw.random() < 0.5,
        trailing=draw.random() < 0.3,
        short=draw.random() < 0.5,
        wrap=draw.choice(["none", "none", "fence", "object"]),
        noise=tuple(draw.choice(NOISE) if remarks else "" for _ in range(3)),
        before=before,
    )


def plan(draw: Random, most: int = 6) -> Workflow:
    """Any workflow, sensible or not: also without steps, with references forward."""
    steps = []
    for index in range(draw.randint(0, most)):
        access: Access = "all" if draw.random() < 0.3 else tuple(draw.sample(range(index + 2), draw.randint(0, index)))
        subtask = " ".join(draw.choices(WORDS, k=draw.randint(1, 8)))
        steps.append(Step(model=draw.randint(0, 6), subtask=subtask, access=access))
    return Workflow(steps=tuple(steps))


def write(workflow: Workflow, spelling: Spelling) -> str:
    """The plan in that spelling. A JSON object has JSON's signs and quotes, whatever the spelling says."""
    return spelling.before + _written(workflow, spelling)


def _written(workflow: Workflow, spelling: Spelling) -> str:
    whole = spelling.wrap == "object"
    quote = QUOTES["json" if whole else spelling.quote]
    model = {"bare label": "label", "digits": "label"}.get(spelling.model, spelling.model) if whole else spelling.model
    entries = {
        "model_id": [MODELS[model](step.model) for step in workflow.steps],
        "subtasks": [quote(step.subtask) for step in workflow.steps],
        "access_list": [_access(step.access, spelling.short, whole) for step in workflow.steps],
    }
    lists = []
    for name, noise in zip(spelling.order, spelling.noise, strict=True):
        written = _list(entries[name], spelling.rows, spelling.trailing and bool(entries[name]))
        if whole:
            lists.append(f'"{name}": {written}')
        else:
            lists.append(f"{noise}{NAMES[spelling.name].format(name)}{spelling.sign}{written}")
    if whole:
        return f"{spelling.noise[0]}\n{{{', '.join(lists)}}}\n{spelling.noise[1]}"
    text = "\n".join(lists)
    return f"{spelling.noise[2]}\n```python\n{text}\n```\nDone." if spelling.wrap == "fence" else text


def _list(entries: Sequence[str], rows: bool, trailing: bool) -> str:
    between = ",\n    " if rows else ", "
    edges = ("[\n    ", "\n]") if rows else ("[", "]")
    return edges[0] + between.join(entries) + ("," if trailing else "") + edges[1]


def _access(access: Access, short: bool, json_only: bool) -> str:
    if access == "all":
        return '"all"' if short else '["all"]'
    if short and not access:
        return "null" if json_only else "None"
    if short and len(access) == 1:
        return str(access[0])
    return str(list(access))


HAZARDS = [
    "'",
    '"',
    '"""',
    "“",
    "’",
    "[",
    "]",
    "[[[[",
    "\\",
    "\n",
    ",",
    "\0",
    "\ud800",
    "\udfff",
    "9" * 5000,
    "#",
    "model_id = [",
]
HAZARDS += [
    "subtasks: ['",
    "access_list",
    "=",
    "\u2028",
    "\x85",
    "ſubtaskſ = [",
    "\\u12",
    "\\N{DASH}",
    "None",
    "1e9",
    "0x1",
]


def damaged(text: str, draw: Random) -> str:
    """The text with one to four things wrong with it."""
    for _ in range(draw.randint(1, 4)):
        start, end = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        match draw.randrange(6):
            case 0:
                text = text[:end]
            case 1:
                text = text[start:]
            case 2:
                text = text[:start] + text[min(end, start + 9) :]
            case 3:
                text = text[:end] + text[start:]
            case 4:
                text = text[:start] + draw.choice(HAZARDS) * draw.choice([1, 1, 1, 70]) + text[start:]
            case _:
                text = text.replace(draw.choice("'\"[],=:\n"), draw.choice(HAZARDS), draw.randint(1, 3))
    return text


def completion(seed: int) -> tuple[str, Workflow | None]:
    """A completion, the same for the same seed, and the plan that it holds; `None` where it is damaged."""
    draw = Random(seed)
    workflow = plan(draw)
    text = write(workflow, spelling(draw))
    if draw.random() < 0.3:
        text = write(plan(draw), spelling(draw)) + "\nNo, better:\n" + text
    if draw.random() < 0.6:
        return damaged(text, draw), None
    return text, workflow
