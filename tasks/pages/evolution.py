"""The Prefect page of a running evolution: rewards, progress, workers asked, cost and savings."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.fugu.roles import Role
from tasks.pages.report import Progress, picture, publish, write_report

KEY = "evolution"
PARENT = "parent on validation"
NOTE = f"""\
`best` and `mean` are over the candidates with all of their rollouts; under successive halving the others have fewer.
`{PARENT}` is the reward by which a parent is kept, so it is too high for the parent that was kept; `compare-pool`
measures it on questions that were not used for the choice.
"""


Paid = Callable[[], tuple[int, float]]
"""() -> how many calls this run has paid, and for how many USD; reads the ledger."""


@dataclass
class EvolutionPage:
    """A markdown page with a plot, written again for every generation under one key, so that older versions stay.

    `workers`: names in the pool; `paid`: reads what this run has paid; `rows`: one per generation;
    `turns`: of the rollouts of this flow run.
    """

    run: str
    workers: Sequence[str]
    paid: Paid
    generations: int
    start_reward: float
    progress: Progress
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    shown: int = 0
    turns: int = 0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    async def open(
        cls,
        run: str,
        workers: Sequence[str],
        paid: Paid,
        generations: int,
        start_reward: float,
    ) -> EvolutionPage:
        """The page of a run; generations recorded earlier are added afterwards."""
        progress = await Progress.start("evolution", generations)
        return cls(run, workers, paid, generations, start_reward, progress)

    async def add(self, row: Mapping[str, Any], show: bool = True) -> None:
        """Add a generation's row. `show`: publish the page; false for a generation recorded by an earlier run."""
        self.rows.append(row)
        await self.progress.add(1)
        if show:
            self.shown += 1
            await self.publish()

    async def close(self) -> None:
        """Publish the page also where an earlier run has made all generations."""
        if self.rows and not self.shown:
            await self.publish()

    async def publish(self) -> None:
        """Write the page of the generations so far."""
        drawn = await asyncio.to_thread(plot, self.rows, self.start_reward, self.workers)
        await asyncio.to_thread(write_report, "evolution.svg", drawn.decode())
        paid = await asyncio.to_thread(self.paid)
        await publish(KEY, self.happened(time.monotonic() - self.started), self.parts(drawn, *paid))

    def happened(self, seconds: float) -> str:
        """Where the run is, and what to do next. `seconds`: the time for the generations of this flow run."""
        done = len(self.rows)
        kept = [row for row in self.rows if row["kept"]]
        best = (
            f"the best parent so far is of generation {kept[-1]['generation']}, with {kept[-1]['parent']:.3f} on "
            f"validation, where the start has {self.start_reward:.3f}"
            if kept
            else f"no parent was better on validation than the start ({self.start_reward:.3f})"
        )
        if done < self.generations:
            left = _time(seconds / max(self.shown, 1) * (self.generations - done))
            then = f"About {left} left; a run that is stopped goes on from here when it is started again."
        else:
            then = "`compare-pool/compare-routers` measures the result on questions that were not used for the choice."
        return f"Generation {done} of {self.generations} ({self.rows[-1]['stage']}): {best}. {then}"

    def parts(self, svg: bytes, calls: int, usd: float) -> list[str]:
        """The page below that, as markdown. `calls`, `usd`: paid by this flow run."""
        return [
            picture("fitness, step size, shares", svg),
            "## Cost\n\n" + self._costs(calls, usd),
            f"## Generations of run {self.run}\n\n" + NOTE,
            table(self.rows, self.start_reward, self.workers),
        ]

    def _costs(self, calls: int, usd: float) -> str:
        turns = self.turns
        saved = turns - calls
        share = f" ({saved / turns:.1%})" if turns else ""
        return (
            f"Since this flow run started: {turns:,} turns of rollouts, {calls:,} calls paid, "
            f"{usd:.4f} USD; {saved:,} calls saved{share}, because another candidate had chosen the same "
            "or the ledger had the reply."
        )


def table(rows: Sequence[Mapping[str, Any]], start_reward: float, workers: Sequence[str]) -> str:
    """The generations as a markdown table, the newest first and the start last."""
    names = ("generation", "best", "mean", PARENT, "kept", "σ", "turns", "workers", "roles")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in reversed(rows):
        cells = [str(row["generation"]), *(f"{row[name]:.4f}" for name in ("best", "mean", "parent"))]
        cells += ["yes" if row["kept"] else "", f"{row['sigma']:.3g}", f"{row['turns']:.2f}"]
        cells += [_shares(workers, row["shares"]), _shares([role.name for role in Role], row["roles"])]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"| 0 | | | {start_reward:.4f} | yes | | | | |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Mapping[str, Any]], start_reward: float, workers: Sequence[str]) -> bytes:
    """Fitness, step size and shares over the generations, as SVG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # takes a second to import, and pyplot would keep global state
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 8), layout="constrained", facecolor="white")  # on a dark page, too
    FigureCanvasAgg(figure)
    fitness, size, asked, played = figure.subplots(4, 1, sharex=True, height_ratios=(3, 1, 2, 2))
    numbers = [row["generation"] for row in rows]
    for name in ("best", "mean"):
        fitness.plot(numbers, [row[name] for row in rows], label=f"{name} of the candidates")
    fitness.plot([0, *numbers], [start_reward, *(row["parent"] for row in rows)], "k.-", label=PARENT)
    kept = [row for row in rows if row["kept"]]
    fitness.plot([r["generation"] for r in kept], [r["parent"] for r in kept], "ko", fillstyle="none", label="kept")
    size.semilogy(numbers, [row["sigma"] for row in rows], ".-")
    asked.stackplot(numbers, *zip(*(row["shares"] for row in rows), strict=True), labels=workers)
    played.stackplot(numbers, *zip(*(row["roles"] for row in rows), strict=True), labels=[role.name for role in Role])
    for axes, label in ((fitness, "mean reward"), (size, "σ"), (asked, "workers"), (played, "roles")):
        axes.set_ylabel(label)
    for axes in (fitness, asked, played):
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    played.set_xlabel("generation")
    played.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    image = io.BytesIO()
    with rc_context({"svg.hashsalt": KEY}):  # the same rows give the same bytes
        figure.savefig(image, format="svg", metadata={"Date": None})
    return image.getvalue()


def _shares(names: Sequence[str], parts: Sequence[float]) -> str:
    return ", ".join(f"{name} {part:.0%}" for name, part in zip(names, parts, strict=True) if part >= 0.005)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
