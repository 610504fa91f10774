"""What a training of the conductor came to, for people: tables and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.conductor.learn.checks import Mode, modes, readiness
from models.conductor.learn.practice import Sample
from models.evaluation.metrics import paired
from tasks.pages.report import publish, table

SHOWN = 60
"""Iterations in the table, evenly spread."""

Both = tuple[Sequence[Sample], Sequence[Sample]]
"""Before and after the training, of the same exercises."""


async def training_artifacts(
    history: Sequence[Mapping[str, float]], sampled: Both, greedy: Both, tasks: Mapping[str, str]
) -> None:
    """`history`: figures of each iteration. `sampled`: groups, for the failure modes. `greedy`: on held-out questions.

    `tasks`: of the held-out questions, by id.
    """
    step = max(1, len(history) // SHOWN)
    rows = [{name: _rounded(value) for name, value in row.items()} for row in history[::step]]
    await table("conductor-training", rows, "GRPO: figures of the iterations")
    found = modes(*sampled)
    await table("conductor-modes", [_row(mode) for mode in found], "How the conductor may have gone wrong")
    before, after = (float(np.mean([sample.score for sample in samples])) for samples in greedy)
    gone = sum(mode.seen for mode in found)
    happened = (
        f"On {len(greedy[1])} held-out questions the plans score {after:.3f}, before the training {before:.3f}; "
        f"{gone} of {len(found)} ways of going wrong were seen. `FUGU_CONDUCTOR` with the folder that this run returns "
        "lets it write the endpoint's plans."
    )
    await publish("conductor", happened, [page(sampled, greedy, tasks, found)])


def page(sampled: Both, greedy: Both, tasks: Mapping[str, str], found: Sequence[Mode]) -> str:
    """The result, its parts by task, and the failure modes."""
    parts = ["all", *dict.fromkeys(tasks.values())]
    lines = [
        "## Greedy, on held-out questions\n",
        "| questions | n | before | after | gain [95 %] |",
        "|---|---|---|---|---|",
    ]
    for part in parts:
        before, after = (_scores(samples, tasks, part) for samples in greedy)
        gain = paired(after - before)
        interval = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        lines.append(f"| {part} | {len(before)} | {before.mean():.4f} | {after.mean():.4f} | {interval} |")
    lines += ["", "## Plans\n", "| | before | after |", "|---|---|---|"]
    lines.append(_compared("greedy plans that parse", [_parsed(samples) for samples in greedy]))
    lines.append(_compared("greedy plans that can be run", [_legal(samples) for samples in greedy]))
    lines.append(_compared("steps of a greedy plan", [_steps(samples) for samples in greedy]))
    lines.append(_compared("mean reward of sampled plans", [readiness(samples).reward for samples in sampled]))
    lines += ["", "## How it may have gone wrong\n"]
    lines += [f"- {'**seen**' if mode.seen else 'not seen'}: {mode.line}" for mode in found]
    return "\n".join(lines) + "\n"


def _scores(samples: Sequence[Sample], tasks: Mapping[str, str], part: str) -> np.ndarray:
    return np.array([s.score for s in samples if part in ("all", tasks[s.exercise.question])])


def _parsed(samples: Sequence[Sample]) -> float:
    return float(np.mean([sample.workflow is not None for sample in samples]))


def _legal(samples: Sequence[Sample]) -> float:
    return float(np.mean([not sample.fault for sample in samples]))


def _steps(samples: Sequence[Sample]) -> float:
    lengths = [len(sample.asked) for sample in samples if sample.asked]
    return float(np.mean(lengths)) if lengths else float("nan")


def _compared(name: str, figures: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |"


def _row(mode: Mode) -> dict[str, str | float]:
    return {
        "mode": mode.name,
        "measured": mode.figure,
        "before": _rounded(mode.before),
        "after": _rounded(mode.after),
        "bound": mode.bound,
        "seen": "yes" if mode.seen else "no",
    }


def _rounded(value: float) -> float | str:
    return "" if value != value else round(value, 4)
