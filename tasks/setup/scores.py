"""Import scores measured elsewhere as labels of recorded workers, which cannot be asked."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from models.errors import BadInput
from models.files import staged
from models.grading.forms.rows import files_of
from models.grading.question import Question, Split, save_questions
from models.grading.recorded import VERSION
from models.grading.scores import Scored, read_scores
from models.ledger.epochs import open_epoch, put_workers
from models.ledger.labels import Attempt, put_attempts
from models.ledger.store import Ledger
from models.workers.pool import Pool, name_problem
from tasks.setup.questions import digests, hashed, keep_set
from tasks.setup.settings import settings


@dataclass(frozen=True)
class Imported:
    """The result of an import: pool and question file are parameters of `warm-start` and `compare-pool`. `notes`: what
    a person should know of the file, a line each."""

    pool: str
    workers: tuple[str, ...]
    questions: Path
    count: int
    notes: tuple[str, ...]


def import_scores(path: Path, name: str, ledger: Ledger, form: str | None = None) -> Imported:
    """Create a pool of recorded workers, a question file and labels in the ledger. Importing again changes nothing.
    `form`: as in `read_scores`.

    Raises BadFile, naming the line; BadInput for an invalid name; OSError and LedgerAway if something cannot be
    written, in which case nothing is.
    """
    _check_name(name)
    scored = read_scores(path, form, name_problem)
    names = scored.workers
    revision = _revision(path)
    questions, crossing = _questions(scored)
    place = settings().home / "questions" / f"{name}.jsonl"
    # The pool file is written last, so if it exists, the import is complete.
    with staged(settings().home / "pools" / f"{name}.yaml") as file, ledger.together():
        yaml.safe_dump(_pool(name, names, revision), file, sort_keys=False)
        known = keep_set(place, questions, ledger)
        put_workers(ledger, [{"name": w, "revision": revision, "recorded": True} for w in names])
        epoch = open_epoch(ledger, name, known.name)
        put_attempts(ledger, _attempts(epoch, revision, scored, names, digests(questions)))
        save_questions(place, questions)
    return Imported(name, names, place, len(questions), (*_notes(scored), *crossing))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadInput(f"{name!r} is not a valid pool name: at most 100 letters, digits, dots and dashes", "name")
    own = settings().home / "pools" / f"{name}.yaml"
    taken = own.exists() and not all(worker.is_recorded for worker in Pool.load(own).workers)
    if taken or (settings().data / "pools" / own.name).exists():
        raise BadInput(f"pool {name!r} exists already: choose another name with --name", "name")


def _revision(path: Path) -> str:
    """A digest of the files' content: other scores are other workers."""
    content = hashlib.sha256()
    for file in files_of(path):
        content.update(file.read_bytes())
    return content.hexdigest()[:12]


def _questions(scored: Scored) -> tuple[list[Question], list[str]]:
    """The questions, and a note where the file has one text in several splits. Those that have no split and one text
    are dealt to one."""
    same = defaultdict(list)
    for at, text in enumerate(scored.texts):
        same[text].append(at)
    splits = list(scored.splits)
    crossing = 0
    for places in (places for places in same.values() if len(places) > 1):
        declared = sorted({splits[at] for at in places} - {""})
        crossing += len(declared) > 1
        split = declared[0] if declared else cast(Split, hashed(min(scored.ids[at] for at in places)))
        for at in places:
            splits[at] = splits[at] or split
    made = [
        Question(
            id=each.id,
            task=each.task,
            messages=each.messages,
            grader="recorded",
            split=split,
            tags=(each.metric,) if each.metric else (),
        )
        for each, split in zip(scored.asked, splits, strict=True)
    ]
    note = f"{crossing} texts are in several splits: what is learned from them is also compared on them"
    return made, [note] if crossing else []


def _notes(scored: Scored) -> Iterator[str]:
    yield from scored.notes
    holes = int((scored.repeats == 0).sum())
    if holes:
        whole = int(scored.complete.sum())
        yield (
            f"{holes} of {scored.repeats.size} scores are missing: {whole} of {len(scored.asked)} questions were seen "
            "by every worker, and only they are learned from and compared on"
        )
    repeated = int(scored.repeats.max())
    if repeated > 1:
        yield f"up to {repeated} repeats of a question and worker"
    unknown = np.isnan(scored.amounts[:, 1])
    if unknown.any() and not unknown.all():
        yield f"{int(unknown.sum())} of {len(unknown)} replies have no cost: they count as free"


def _attempts(
    epoch: int, revision: str, scored: Scored, workers: Sequence[str], digests: Mapping[str, str]
) -> Iterator[Attempt]:
    seen = np.zeros_like(scored.repeats)
    ids = scored.ids
    amounts = np.nan_to_num(scored.amounts)
    for question, worker, (score, usd, prompt, completion, seconds) in zip(
        scored.question, scored.worker, amounts, strict=True
    ):
        id, repeat = ids[question], int(seen[question, worker])
        seen[question, worker] += 1
        cell = (epoch, id, workers[worker], revision, repeat, "recorded", VERSION)
        yield Attempt(
            *cell,
            float(score),
            cost_usd=float(usd),
            prompt_tokens=int(prompt),
            completion_tokens=int(completion),
            seconds=float(seconds),
            question_digest=digests[id],
        )


def _pool(name: str, workers: Sequence[str], revision: str) -> dict[str, Any]:
    return {"name": name, "workers": [{"name": w, "model": f"recorded/{w}", "revision": revision} for w in workers]}
