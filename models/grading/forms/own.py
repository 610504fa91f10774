"""Our own form: a line for each question, `{"id", "task", "question", "scores": {worker: score}}`, or one for each
reply, `{"id", "task", "question", "worker", "score"}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.grading.forms.reply import NAN, Asked, Replies, Reply, Row, user
from models.grading.question import Identified, Messages, Split, blamed


def _several(value: Any) -> Any:
    """A value as a list: of none where it is null, of itself where it is no list."""
    return [] if value is None else value if isinstance(value, list) else [value]


class Tokens(BaseModel):
    """Of one reply."""

    model_config = ConfigDict(extra="forbid")

    prompt: int = Field(default=0, ge=0)
    completion: int = Field(default=0, ge=0)


def _counted(value: Any) -> Any:
    """Tokens that are one number are the completion's."""
    return {"completion": value} if isinstance(value, int | float) else value


Name = Annotated[str, Field(min_length=1, max_length=200)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scores = Annotated[list[Score], BeforeValidator(_several)]
Amounts = Annotated[list[Amount], BeforeValidator(_several)]
Counts = Annotated[list[Annotated[Tokens, BeforeValidator(_counted)]], BeforeValidator(_several)]


class ScoredQuestion(Identified):
    """One line. `scores`: worker to score in [0, 1], a list of them for repeats, null where it did not see the
    question; `costs` (USD), `tokens` and `latency` (seconds): of the same replies. `metric`: how it was scored.
    `repeat`: several lines with one id are repeats, each with a number of its own."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1, max_length=200)
    question: str | None = Field(default=None, min_length=1)
    messages: Messages | None = None
    scores: dict[Name, Scores] = Field(min_length=1)
    costs: dict[Name, Amounts] = Field(default_factory=dict)
    tokens: dict[Name, Counts] = Field(default_factory=dict)
    latency: dict[Name, Amounts] = Field(default_factory=dict)
    metric: str = ""
    split: Split = ""
    repeat: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> ScoredQuestion:
        if (self.question is None) == (self.messages is None):
            raise ValueError("either question or messages is needed")
        for name in ("costs", "tokens", "latency"):
            for worker, values in getattr(self, name).items():
                if values and len(values) != len(self.scores.get(worker, ())):
                    raise ValueError(f"{name}.{worker}: not one for each score")
        if not any(self.scores.values()):
            raise ValueError("scores: no worker has one")
        return self

    @property
    def asked(self) -> Asked:
        """The question without its scores."""
        messages = user(self.question or "") if self.messages is None else self.messages
        return Asked(self.id, self.task, messages, self.split, self.metric)


_ONE = {"score": "scores", "cost": "costs", "tokens": "tokens", "latency": "latency"}
"""Fields of a reply's line, and those of a question's."""


def of_question(rows: Iterator[Row]) -> Replies:
    """A line for each question. Raises BadFile, also for an id that is there twice."""
    seen: dict[tuple[str, int], int] = {}
    for row in rows:
        line = _parsed(row, row.value)
        first = seen.setdefault((line.id, line.repeat), row.line)
        if first != row.line:
            raise row.bad(f"question id {line.id!r} is already on line {first} (repeats need a field `repeat`)")
        yield from _replies(row, line)


def of_reply(rows: Iterator[Row]) -> Replies:
    """A line for each reply; those of one question and worker are repeats. Raises BadFile."""
    for row in rows:
        value = {name: each for name, each in row.value.items() if name not in _ONE and name != "worker"}
        worker = row.text("worker")
        value |= {_ONE[name]: {worker: row.value[name]} for name in _ONE if name in row.value}
        yield from _replies(row, _parsed(row, value))


def _parsed(row: Row, value: Mapping[str, Any]) -> ScoredQuestion:
    with blamed(row.path, row.line):
        return ScoredQuestion.model_validate(value)


def _replies(row: Row, line: ScoredQuestion) -> Replies:
    asked = line.asked
    for worker, scores in line.scores.items():
        costs, seconds = line.costs.get(worker) or [NAN] * len(scores), line.latency.get(worker) or [NAN] * len(scores)
        tokens = line.tokens.get(worker)
        for at, score in enumerate(scores):
            count = (NAN, NAN) if not tokens else (float(tokens[at].prompt), float(tokens[at].completion))
            yield Reply(row, asked, worker, score, costs[at], *count, seconds[at])
