"""The loaders that the catalogue names: which columns they need, by role, and what makes a question of a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from models.grading.benchmarks import answers, options, programs, tools
from models.grading.benchmarks.row import Made, Row


class Loader(NamedTuple):
    """`needs`: roles that must have a column; `may`: roles that can have one."""

    make: Callable[[Row], Made]
    needs: tuple[str, ...]
    may: tuple[str, ...] = ("id",)


LOADERS = {
    "gsm8k": Loader(answers.gsm8k, ("question", "answer")),
    "math": Loader(answers.expression, ("question", "answer"), ("id", "level")),
    "aime": Loader(answers.whole_number, ("question", "answer")),
    "rlpr": Loader(answers.short_answer, ("messages", "truth"), ("id", "tag")),
    "choice": Loader(options.lettered, ("question", "options", "answer"), ("id", "task", "tag")),
    "gpqa": Loader(options.shuffled, ("question", "right", "wrong1", "wrong2", "wrong3"), ("id", "task", "tag")),
    "livecodebench": Loader(programs.livecodebench, ("question", "public", "private", "metadata"), ("id", "starter")),
    "evalplus": Loader(programs.evalplus, ("question", "test"), ("id", "entry", "examples")),
    "bigcodebench": Loader(programs.bigcodebench, ("question", "starter", "test", "entry", "libraries")),
    "toolscale": Loader(tools.toolscale, ("scenario", "criteria")),
}
