"""Fetch a benchmark, or a mix of several, as one file of questions. Nothing is half-written."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import BadFile, BadInput
from models.grading.benchmarks.loaders import LOADERS
from models.grading.benchmarks.row import LeftOut, Row
from models.grading.grade import check
from models.grading.question import Question, save_questions
from tasks.benchmarks.catalogue import Benchmark, Mix, Part, Pool, find
from tasks.benchmarks.reading import fetched, found, rows

Report = Callable[[str], None]
_DEALT: tuple[Pool, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Fetched:
    """`path`: the file of questions; `notes`: licences, commits, and what was left out, a line each."""

    path: Path
    count: int
    splits: dict[str, int]
    notes: tuple[str, ...]


@dataclass
class _Source:
    """A benchmark's files and what came of their rows."""

    name: str
    benchmark: Benchmark
    files: dict[Pool, list[Path]]
    left_out: Counter[str] = field(default_factory=Counter)

    def questions(self, split: Pool) -> Iterator[Question]:
        """The questions of one split, in the files' order. Raises BadFile for a column that a file lacks."""
        seen: Counter[str] = Counter()
        for at, (path, values) in enumerate(rows(self.files.get(split, []))):
            row = Row(at, values, self.benchmark.columns)
            if at == 0:
                self._has_columns(path, row)
            try:
                yield self._question(row, split, seen)
            except LeftOut as error:
                self.left_out[str(error)] += 1
            except BadInput as error:
                self.left_out[f"that the grader {self.benchmark.grader!r} refuses: {error}"] += 1

    def _has_columns(self, path: Path, row: Row) -> None:
        needed = [self.benchmark.columns[role] for role in LOADERS[self.benchmark.loader].needs]
        if missing := [name for name in needed if name not in row.values]:
            raise BadFile(path, f"no column {missing[0]!r} of {self.name}; there are {', '.join(row.values)}", 1)

    def _question(self, row: Row, split: Pool, seen: Counter[str]) -> Question:
        made = LOADERS[self.benchmark.loader].make(row)
        key = row.key
        seen[key] += 1
        key = key if seen[key] == 1 else f"{key}-{row.at}"
        where = "" if split == "all" or len(self.benchmark.files) == 1 else f"{split}-"
        question = Question(
            id=f"{self.name}-{where}{key}",
            task=made.task or self.name,
            messages=({"role": "user", "content": made.text},),
            grader=made.grader,
            reference=made.reference,
            options=made.options,
            split="" if split == "all" else split,
            tags=(self.name, *made.tags),
        )
        check(question)
        return question

    def notes(self) -> Iterator[str]:
        for why, count in self.left_out.most_common():
            yield f"{self.name}: {count} rows are left out {why}"


def fetch_questions(
    catalogue: Path, name: str, target: Path, folder: Path | None = None, limit: int | None = None
) -> Fetched:
    """Write the questions of a benchmark or mix to `target`. `folder`: of files in the hub's form, read instead of the
    hub; for a mix, with a folder for each benchmark. `limit`: the most questions, chosen by a hash of their ids.

    Raises BadInput for an unknown name or a benchmark that is run by its own harness; BadFile for a wrong entry, file
    or column; UpstreamUnavailable where the hub cannot be reached; OSError where the file cannot be written.
    """
    entry = find(catalogue, name)
    parts = {name: None} if isinstance(entry, Benchmark) else entry.parts
    questions: list[Question] = []
    notes: list[str] = []
    for each, part in parts.items():
        benchmark = entry if isinstance(entry, Benchmark) else find(catalogue, each)
        if isinstance(benchmark, Mix):
            raise BadFile(catalogue, f"mixes.{name}.parts: {each!r} is a mix itself")
        source = _opened(each, benchmark, folder if folder is None or part is None else folder / each, notes)
        chosen = _all(source, limit) if part is None else _part(source, part, notes)
        if not chosen:
            raise BadInput("; ".join([f"no question came of {each}", *source.notes()]), "name")
        questions += chosen
        notes += source.notes()
    if limit is not None:
        questions = _few(questions, limit)
    save_questions(target, questions)
    return Fetched(target, len(questions), dict(Counter(q.split or "not dealt" for q in questions)), tuple(notes))


def _opened(name: str, benchmark: Benchmark, folder: Path | None, notes: list[str]) -> _Source:
    if benchmark.harness:
        raise BadInput(f"{name} runs through its own harness: {' '.join(benchmark.harness.split())}", "name")
    notes.append(f"{name}: {benchmark.licence}" + (f". {' '.join(benchmark.notes.split())}" if benchmark.notes else ""))
    if folder is not None:
        files = found(name, benchmark, folder)
        notes += [f"{name}: no file of split {split!r}" for split in benchmark.files if split not in files]
        return _Source(name, benchmark, files)
    commit, files = fetched(name, benchmark)
    pinned = "as pinned" if benchmark.revision else "not pinned: write it into data/catalog.yaml to keep it"
    notes.append(f"{name}: commit {commit} of {benchmark.hub}, {pinned}")
    return _Source(name, benchmark, files)


def _all(source: _Source, limit: int | None) -> list[Question]:
    """A benchmark's questions, or the first of them by hash."""
    every = (question for split in source.files for question in source.questions(split))
    return list(every) if limit is None else _few(every, limit)


def _part(source: _Source, part: Part, notes: list[str]) -> list[Question]:
    """A mix's share of a benchmark. Where the publisher has no splits, its questions are dealt in the order of their
    hashes, in the mix's proportions; where a split has fewer than are wanted, all of it is taken."""
    wanted: dict[Pool, int] = {split: count for split in _DEALT if (count := getattr(part, split))}
    if "all" not in source.files:
        chosen = {split: _few(source.questions(split), count) for split, count in wanted.items()}
    else:
        ordered = _few(source.questions("all"), total := sum(wanted.values()))
        chosen, start, sum_before = {}, 0, 0
        for split, count in wanted.items():
            sum_before += count
            end = len(ordered) * sum_before // total
            chosen[split] = [question.model_copy(update={"split": split}) for question in ordered[start:end]]
            start = end
    for split, count in wanted.items():
        if len(chosen[split]) < count:
            notes.append(f"{source.name}: {len(chosen[split])} questions of split {split!r}, not {count}")
    return [question for some in chosen.values() for question in some]


def _few(questions: Iterable[Question], count: int) -> list[Question]:
    """The `count` questions whose ids have the smallest hashes, in that order."""
    return heapq.nsmallest(count, questions, key=lambda question: hashlib.sha256(question.id.encode()).digest())
