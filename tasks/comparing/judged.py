"""What the gate saw of a router, kept as JSON: it goes with the router wherever the router goes (`fugu export`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from models.errors import BadFile, BadInput
from models.evaluation.gate import Verdict
from models.evaluation.table import Row
from models.files import parse_json
from models.workers.pool import Pool
from models.workers.worker import Value
from tasks.pages.report import write_report
from tasks.setup.settings import settings

Line = Annotated[str, Field(max_length=4000)]
Count = Annotated[dict[str, Any], Field(max_length=200)]


class Bounded(Value):
    """One condition of the gate, with the difference to the rival and the ends of its interval, where there is one."""

    rival: Line
    rule: Line
    value: float | None
    low: float | None
    high: float | None
    passed: bool

    def __str__(self) -> str:
        figures = "no figure" if self.value is None else f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.rule} {self.rival}: {figures}"


class Judged(Value):
    """A verdict with its figures. `pool`, `fingerprint`, `questions`: what it was measured on; `tables`: the rows of
    the whole comparison, by group of questions."""

    promoted: bool
    line: Line
    pool: Line
    fingerprint: Line
    questions: Line
    bounds: tuple[Bounded, ...] = Field(max_length=20)
    tables: dict[str, Annotated[list[Count], Field(max_length=200)]] = Field(max_length=20)


Evidence = dict[Literal["fugu", "trinity"], Judged]
"""By served model."""

_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Evidence)


def judged_by(verdict: Verdict, pool: Pool, questions: str, tables: Mapping[str, Sequence[Row]]) -> Judged:
    """The verdict of a comparison on a pool."""
    bounds = [
        {"rival": bound.rival, "rule": bound.rule, "passed": bound.passed}
        | (dict.fromkeys(("value", "low", "high")) if bound.difference is None else bound.difference._asdict())
        for bound in verdict.bounds
    ]
    found = {"promoted": verdict.promoted, "line": verdict.line, "bounds": bounds, "tables": dict(tables)}
    return Judged.model_validate(found | {"pool": pool.name, "fingerprint": pool.fingerprint, "questions": questions})


def keep(checkpoint: str, model: str, judged: Judged) -> None:
    """Keep it beside the reports, in place of the last one of this checkpoint for this model."""
    keep_all(checkpoint, kept(checkpoint) | {model: judged})


def keep_all(checkpoint: str, evidence: Mapping[str, Judged]) -> None:
    """Keep all that is known of a checkpoint."""
    write_report(_file(checkpoint).name, json.dumps(as_json(evidence), indent=1) + "\n")


def kept(checkpoint: str) -> dict[str, Judged]:
    """What is known of a checkpoint; empty where it was never compared. Raises BadFile for a damaged one."""
    file = _file(checkpoint)
    if not file.exists():
        return {}
    try:
        return parsed(parse_json(file.read_text()))
    except (ValueError, BadInput) as error:
        raise BadFile(file, f"is not what a comparison writes: {error}") from None


def parsed(value: Any) -> dict[str, Judged]:
    """Evidence from JSON. Raises BadInput, naming the place."""
    try:
        return {str(model): judged for model, judged in _EVIDENCE.validate_python(value).items()}
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def as_json(evidence: Mapping[str, Judged]) -> dict[str, Any]:
    """Evidence as JSON values."""
    return {model: judged.model_dump(mode="json") for model, judged in evidence.items()}


def _file(checkpoint: str) -> Path:
    return settings().home / "reports" / f"gate-{checkpoint[:12]}.json"
