"""The page of a comparison: its verdict in two sentences and a plot; then all tables, and what the gate says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import Entry
from models.evaluation.plot import cost_plot, plot
from models.evaluation.spending import TITLE, Spending
from models.evaluation.table import Row, table
from models.evaluation.table import markdown as markdown_table
from tasks.pages.report import picture, publish, write_report


async def comparison_page(
    tables: Mapping[str, Sequence[Entry]],
    workers: Sequence[str],
    verdict: str,
    routers: Sequence[str],
    lines: Sequence[str],
    key: str = "comparison",
    knobs: Mapping[str, Spending] | None = None,
) -> dict[str, list[Row]]:
    """Publish a comparison: `tables` by group of questions; `verdict`: who serves, or would, as one sentence;
    `routers`: the rows that the second sentence names; `lines`: the gate's; `knobs`: what each router's is worth in the
    first group. Returns the rows of its tables."""
    rows = {group: table(entries, workers) for group, entries in tables.items()}
    first = next(iter(rows))
    pictures = {group: await asyncio.to_thread(plot, found, group, routers=routers) for group, found in rows.items()}
    for number, drawn in enumerate(pictures.values()):
        await asyncio.to_thread(write_report, f"{key}-{number + 1}.svg", drawn.decode())
    parts = [picture(first, pictures[first])]
    for group, found in rows.items():
        parts += [f"## {group} (n = {found[0]['n']})", markdown_table(found)]
        parts += [picture(group, pictures[group])] if group != first else []
    if knobs:
        drawn = await asyncio.to_thread(cost_plot, rows[first], workers, first, {n: w.curve for n, w in knobs.items()})
        await asyncio.to_thread(write_report, f"{key}-cost.svg", drawn.decode())
        told = [{"": name} | worth.told for name, worth in knobs.items()]
        lines_of = [list(told[0]), ["---"] * len(told[0]), *(list(row.values()) for row in told)]
        parts += [f"## {TITLE}", "\n".join(f"| {' | '.join(each)} |" for each in lines_of), picture(TITLE, drawn)]
    parts += ["## The gate", "\n".join(f"- {line}" for line in lines)]
    await publish(key, f"{verdict} {evidence(first, rows[first], routers)}", parts)
    return rows


def evidence(group: str, rows: Sequence[Row], routers: Sequence[str]) -> str:
    """What these routers score, and the best single worker, and who always chooses right, as one sentence."""
    known = {row["name"]: row for row in rows}
    single = known[BEST_SINGLE]
    worker = max(single["shares"], key=single["shares"].__getitem__)
    parts = [f"{name} scores {_score(known[name])}" for name in dict.fromkeys(routers) if name in known]
    parts.append(f"the best single worker, {worker}, {'scores ' if not parts else ''}{_score(single)}")
    parts.append(f"and always choosing the right worker {known[ORACLE]['score']:.3f}")
    return f"On {single['n']} held-out questions ({group}) {', '.join(parts)}."


def _score(row: Row) -> str:
    ends = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['score']:.3f}{ends}"
