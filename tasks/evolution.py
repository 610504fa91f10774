"""The page of an evolution while it runs: how good, how far, who is asked, what it cost and what it saved."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.fugu.mixture import Rewarding
from models.fugu.roles import Role
from models.ledger.accounts import spend
from tasks.report import Progress, markdown, write_report
from tasks.session import Session

KEY = "evolution"


@dataclass
class EvolutionPage:
    """One page of markdown with a plot, made anew for every generation under one key, so that the old ones stay.

    `before`: what the ledger had paid in the scope (`paid`) before this flow run asked anybody; `rows`: those of the
    generations.
    """

    run: str
    session: Session
    objectives: Sequence[Rewarding]
    generations: int
    start_reward: float
    progress: Progress
    before: Mapping[str, Any]
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    shown: int = 0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    async def open(
        cls,
        run: str,
        session: Session,
        objectives: Sequence[Rewarding],
        generations: int,
        start_reward: float,
        before: Mapping[str, Any],
    ) -> EvolutionPage:
        """The page of a run, with the generations that were told before still to be added."""
        progress = await Progress.start("evolution", generations)
        return cls(run, session, objectives, generations, start_reward, progress, before)

    async def add(self, row: Mapping[str, Any], show: bool = True) -> None:
        """A generation's row; `show`: it has just been told."""
        self.rows.append(row)
        await self.progress.add(1)
        if not show:
            return
        self.shown += 1
        picture = await asyncio.to_thread(plot, self.rows, self.start_reward, self.session.pool.names)
        await asyncio.to_thread(write_report, "evolution.svg", picture)
        now = await paid(self.session, self.objectives)
        await markdown(KEY, self.text(picture, now, time.monotonic() - self.started), f"Evolution {self.run}")

    def text(self, picture: bytes, now: Mapping[str, Any], seconds: float) -> str:
        """The page. `now`: what the ledger has paid in the scope by now; `seconds` since the flow run started."""
        encoded = base64.b64encode(picture).decode()
        done = len(self.rows)
        left = _time(seconds / max(self.shown, 1) * max(self.generations - done, 0))
        return "\n\n".join(
            [
                f"# Evolution {self.run}",
                f"Generation {done} of {self.generations}, {self.rows[-1]['stage']}; about {left} left.",
                f"![fitness, step size, shares](data:image/svg+xml;base64,{encoded})",
                "## What it cost\n\n" + self._costs(now),
                "## Generations\n\n" + table(self.rows, self.start_reward, self.session.pool.names),
            ]
        )

    def _costs(self, now: Mapping[str, Any]) -> str:
        turns = sum(objective.spent.turns for objective in self.objectives)
        paid, usd = now["settled"] - self.before["settled"], now["usd"] - self.before["usd"]
        saved = turns - paid
        share = f" ({saved / turns:.1%})" if turns else ""
        return (
            f"Since this flow run started: {turns:,} turns of rollouts, {paid:,} calls paid, {usd:.4f} USD; "
            f"{saved:,} calls saved{share}, because a candidate had chosen so before or the ledger had the reply."
        )


async def paid(session: Session, objectives: Sequence[Rewarding]) -> Mapping[str, Any]:
    """What the ledger has paid in the objectives' scope by now."""
    return await asyncio.to_thread(spend, session.ledger, objectives[0].scope)


def table(rows: Sequence[Mapping[str, Any]], start_reward: float, workers: Sequence[str]) -> str:
    """The generations as a table of markdown, the newest first and the start last."""
    names = ("generation", "best", "mean", "parent, held out", "kept", "σ", "turns", "workers", "roles")
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

    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    fitness, size, asked, played = figure.subplots(4, 1, sharex=True, height_ratios=(3, 1, 2, 2))
    numbers = [row["generation"] for row in rows]
    for name in ("best", "mean"):
        fitness.plot(numbers, [row[name] for row in rows], label=f"{name} of the candidates")
    fitness.plot([0, *numbers], [start_reward, *(row["parent"] for row in rows)], "k.-", label="parent, held out")
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
    image = io.BytesIO()
    with rc_context({"svg.hashsalt": KEY}):  # the same rows give the same bytes
        figure.savefig(image, format="svg", metadata={"Date": None})
    return image.getvalue()


def _shares(names: Sequence[str], parts: Sequence[float]) -> str:
    return ", ".join(f"{name} {part:.0%}" for name, part in zip(names, parts, strict=True) if part >= 0.005)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
