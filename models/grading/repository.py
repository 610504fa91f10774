"""Tasks for coding agents: a repository, an instruction, and a command that verifies the result.

A task is a folder: `task.yaml`, `repository/` (text files), and `hidden/` with the verifying files, or with
`cases.yaml`, which holds the command's arguments, input and expected output. Agents never see `hidden/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import BadFile, BadInput
from models.files import read_yaml
from models.grading import command
from models.grading.command import CommandOptions
from models.grading.question import Question

CASES = "cases.yaml"
FORM = "Reply with the whole new content of each file that you change: a line `### path`, then a fenced block."


class Verifying(BaseModel):
    """The part `verify` of a task file; its fields are described in `CommandOptions`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    command: list[str] = Field(min_length=1)
    prints: str = ""
    editable: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    cpu_s: int = 10
    wall_s: float = 20.0
    memory_mb: int = 512


class TaskFile(BaseModel):
    """The content of `task.yaml`. `check`: a command that the agent itself may run any number of times."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str = Field(min_length=1, max_length=200)
    instruction: str = Field(min_length=1)
    check: str = ""
    split: Literal["train", "validation", "test"] = "train"
    verify: Verifying


class RepositoryTask(BaseModel):
    """A loaded task. `question`: the whole task in the form that the grader `command` takes."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    check: str
    instruction: str
    question: Question
    options: CommandOptions

    @property
    def id(self) -> str:
        return self.question.id


def load_tasks(folder: Path) -> list[RepositoryTask]:
    """Load the tasks of a folder, sorted by id. Raises BadFile for an invalid task, a duplicate id, or no task."""
    files = sorted(folder.glob("*/task.yaml"))
    if not files:
        raise BadFile(folder, "holds no task (a folder with a task.yaml)")
    tasks = [load_task(file.parent) for file in files]
    ids = [task.id for task in tasks]
    for index, task in enumerate(tasks):
        if task.id in ids[:index]:
            raise BadFile(task.folder / "task.yaml", f"the id {task.id!r} is already used by another task")
    return sorted(tasks, key=lambda task: task.id)


def load_task(folder: Path) -> RepositoryTask:
    """Load one task. Raises BadFile, naming the file and what is wrong with it."""
    path = folder / "task.yaml"
    try:
        file = read_yaml(path).parsed(TaskFile)
        cases = read_yaml(folder / "hidden" / CASES).value if (folder / "hidden" / CASES).is_file() else []
        hidden = {name: text for name, text in _texts(folder / "hidden").items() if name != CASES}
        files = _texts(folder / "repository")
        options = CommandOptions(files=files, hidden=hidden, cases=cases, **file.verify.model_dump())
        question = Question(
            id=file.id,
            task="repository",
            messages=({"role": "user", "content": brief(file.instruction, files, file.check)},),
            grader="command",
            options=options.model_dump(mode="json", exclude_defaults=True),
            split=file.split,
        )
        command.check(question)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFile(path, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    except BadFile:
        raise
    except BadInput as error:
        raise BadFile(path, str(error)) from None
    return RepositoryTask(
        folder=folder, check=file.check, instruction=file.instruction.strip(), question=question, options=options
    )


def brief(instruction: str, files: dict[str, str], check: str) -> str:
    """The prompt for a model that is to solve the task in one reply, without tools."""
    parts = ["The files of a repository:"]
    parts += [f"### {name}\n```\n{text.rstrip()}\n```" for name, text in files.items()]
    parts.append(FORM)
    parts += [f"This has to pass: {check}"] if check else []
    return "\n\n".join([*parts, instruction.strip()])  # the instruction last: a router reads the end best


def _texts(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                found[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise BadFile(path, f"a repository's files are text: {error}") from None
    return found
