"""Grader `command`: a repository with the reply's changes passes its verifying command, run in a workshop.

The verifying files (`hidden`) are added to the copy only when it is verified, replacing any file at their paths, and
only changes to `editable` files are applied. The command passes with exit status 0, and its output has to match
`prints` if that is given. `prints` makes it harder to pass by ending the test run early, but does not prevent it, since
the candidate's code runs in the same process as the tests. `cases` do prevent it: the command is run once per case,
gets only arguments and input, and its output is compared here.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydantic import Field

from models.errors import BadInput
from models.grading.answer import MAX_REPLY_CHARS
from models.grading.question import Question
from models.grading.verdict import Options, Verdict, options_of
from models.isolation import workshop
from models.isolation.workshop import Command, CommandResult, Room, checked

VERSION = "command/1"

isolation = workshop.isolation
_PATH = re.compile(r"[\w./-]*[\w-]")

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")


class Case(Options):
    """One run: additional arguments, stdin, and the output that the command must print (line ends trimmed)."""

    args: list[str] = Field(default_factory=list)
    stdin: str = ""
    stdout: str


class CommandOptions(Options):
    """Options of the grader `command`; limits are per run.

    `files`: the repository, path -> text. `command`: verifies it, run in its top folder. `hidden`: verifying files.
    `editable`: patterns of the files whose changes are applied (`*` also matches `/`).
    """

    files: dict[str, str] = Field(min_length=1)
    command: list[str] = Field(min_length=1)
    hidden: dict[str, str] = Field(default_factory=dict)
    cases: list[Case] = Field(default_factory=list)
    prints: str = ""
    editable: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    cpu_s: int = Field(default=10, gt=0, le=600)
    wall_s: float = Field(default=20.0, gt=0, le=3600)
    memory_mb: int = Field(default=512, ge=64, le=65536)

    @property
    def room(self) -> Room:
        memory = self.memory_mb * 2**20
        return Room(cpu_s=self.cpu_s, wall_s=self.wall_s, memory_bytes=memory, address_bytes=memory)


def check(question: Question) -> None:
    """Raises BadInput for paths outside the repository, an invalid pattern, or `prints` together with `cases`."""
    options = options_of(CommandOptions, question.options)
    for path in (*options.files, *options.hidden):
        checked(path)
    if options.cases and options.prints:
        raise BadInput("prints cannot be combined with cases, each of which has its own stdout", "options.prints")
    try:
        re.compile(options.prints)
    except re.error as error:
        raise BadInput(f"options.prints: {error}", "options.prints") from None


def grade(question: Question, reply: str) -> Verdict:
    """Score 1 when the repository with the reply's files passes, else 0. Raises IsolationUnavailable."""
    check(question)
    options = options_of(CommandOptions, question.options)
    changed = {path: text.encode() for path, text in edits_of(reply, options.files).items()}
    if not changed:
        return Verdict(0.0, "the reply changes no file")
    return judge(options, {path: text.encode() for path, text in options.files.items()} | changed)


def judge(options: CommandOptions, files: workshop.Files, hides: Sequence[Path] = ()) -> Verdict:
    """Score 1 when this state of the repository passes, else 0; the detail includes the isolation level.

    `files`: as an agent left them. `hides`: folders hidden while they are verified, as in `workshop.opened`: the tasks'
    folder and the home. Raises IsolationUnavailable.
    """
    commands = [
        Command([*options.command, *case.args], case.stdin.encode(), errors=False) for case in options.cases
    ] or [Command(options.command)]
    with workshop.opened(options.room, hides=hides) as shop:
        worked = shop.work(merged(options, files), commands)
    if options.cases:
        wrong = [_wrong(run, case) for run, case in zip(worked.runs, options.cases, strict=True)]
        passed = sum(not why for why in wrong)
        first = next((f"; case {index}: {why}" for index, why in enumerate(wrong) if why), "")
        return Verdict(float(passed == len(wrong)), f"{passed}/{len(wrong)} cases{first} [{worked.level}]")
    run = worked.runs[0]
    right = run.ended == "exit 0" and re.search(options.prints, run.text) is not None
    tail = "" if right else f": {run.text.strip()[-160:]!r}"
    return Verdict(float(right), f"{run.ended}{tail} [{worked.level}]")


def merged(options: CommandOptions, files: workshop.Files) -> dict[str, bytes]:
    """The repository to verify: editable files as the agent left them, all others unchanged, hidden files on top."""
    own = {path: text.encode() for path, text in options.files.items()}
    hidden = {path: text.encode() for path, text in options.hidden.items()}
    editable = {path for path in (*files, *own) if any(fnmatch.fnmatchcase(path, each) for each in options.editable)}
    kept = {path: data for path, data in own.items() if path not in editable}
    kept |= {path: data for path, data in files.items() if path in editable}
    return {path: data for path, data in kept.items() if not any(_in_the_way(path, each) for each in hidden)} | hidden


def _in_the_way(path: str, hidden: str) -> bool:
    """Whether `path` conflicts with the hidden file: the same path, or one of them is a folder of the other."""
    return path == hidden or path.startswith(f"{hidden}/") or hidden.startswith(f"{path}/")


def _wrong(run: CommandResult, case: Case) -> str:
    right = run.ended == "exit 0" and _trimmed(run.text) == _trimmed(case.stdout)
    return "" if right else f"{run.ended}, printed {run.text[:80]!r}"


def _trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def edits_of(reply: str, known: Collection[str] = ()) -> dict[str, str]:
    """The files of a reply, path -> content: named fenced blocks, each with a file's whole new content.

    The name is in the line before the fence (`### shop/prices.py`, `**prices.py**:`) or after the language in the
    fence's own line. Blocks without a name, or whose path leads out of the repository, are ignored. Of two blocks with
    the same name the later counts. `known`: names that need no dot or slash.
    """
    found: dict[str, str] = {}
    for before, info, lines in _blocks(reply[-MAX_REPLY_CHARS:]):
        name = _name(info.split(maxsplit=1)[1] if " " in info else info, known) or _name(before, known)
        if name:
            found[name] = "".join(f"{line}\n" for line in lines)
    return found


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Of every closed block: the last non-empty line before it, the fence's info string, its lines."""
    before, opening, info = "", "", ""
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if not opening and fence:
            opening, info, lines = fence.group(1), fence.group(2), []
        elif opening and fence and fence.group(1).startswith(opening) and not fence.group(2):
            yield before, info, lines
            before, opening = "", ""
        elif opening:
            lines.append(line)
        elif line.strip():
            before = line


def _name(text: str, known: Collection[str]) -> str:
    """The path in the text, or "" if it has none or several."""
    words = [word for word in _PATH.findall(text) if word in known or "." in word.strip(".") or "/" in word]
    if len(words) != 1:
        return ""
    try:
        return checked(words[0])
    except BadInput:
        return ""
