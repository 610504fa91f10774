"""The page of a comparison: its verdict in two sentences and a plot; then all tables, and what the gate says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import pandas as pd

from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import Entry
from models.evaluation.plot import cost_plot, plot
from models.evaluation.spending import TITLE, Spending
from models.evaluation.table import Row, as_markdown, table, told
from tasks.pages.html import Section, html
from tasks.pages.reliability import Reliability
from tasks.pages.report import picture, publish, write_report


async def comparison_page(
    tables: Mapping[str, Sequence[Entry]],
    workers: Sequence[str],
    verdict: str,
    routers: Sequence[str],
    lines: Sequence[str],
    key: str = "comparison",
    knobs: Mapping[str, Spending] | None = None,
    relied: Reliability | None = None,
) -> dict[str, list[Row]]:
    """Publish a comparison: `tables` by group of questions; `verdict`: who serves, or would, as one sentence;
    `routers`: the rows that the second sentence names; `lines`: the gate's; `knobs`, `relied`: of the first group, what
    each router's knob is worth, and what there is beside scores. It is an artifact, and files in `reports`: a page that
    needs nothing else, the rows as CSV, and everything as JSON. Returns the rows of its tables."""
    rows = {group: table(entries, workers) for group, entries in tables.items()}
    drawings = await asyncio.to_thread(_drawings, rows, workers, routers, knobs or {})
    for name, (_, drawn) in drawings.items():
        await asyncio.to_thread(write_report, f"{key}-{name}.svg", drawn.decode())
    first = next(iter(rows))
    said = f"{verdict} {evidence(first, rows[first], routers)}"
    sections = [
        Section(f"{group} (n = {found[0]['n']})", [told(row) for row in found]) for group, found in rows.items()
    ]
    sections += [] if relied is None else relied.sections
    sections += [Section(TITLE, [{"": name} | worth.told for name, worth in knobs.items()])] if knobs else []
    await asyncio.to_thread(_write, key, said, rows, knobs or {}, relied or Reliability())
    gate = Section("The gate", [{"": line} for line in lines])
    page = html(key.capitalize(), said, [drawn for _, drawn in drawings.values()], [*sections, gate])
    await asyncio.to_thread(write_report, f"{key}.html", page)
    top, *others = (picture(what, drawn) for what, drawn in drawings.values())
    parts = [top]
    for title, found, note in sections:
        parts += [f"## {title}", *([note] if note else []), *([as_markdown(found)] if found else [])]
    parts += [*others, "## The gate", "\n".join(f"- {line}" for line in lines)]
    await publish(key, said, parts)
    return rows


def _drawings(
    rows: Mapping[str, Sequence[Row]], workers: Sequence[str], routers: Sequence[str], knobs: Mapping[str, Spending]
) -> dict[str, tuple[str, bytes]]:
    """By file name, what is drawn and its SVG: cost against score of the first group, where anything costs, then bars
    of each group."""
    found = {}
    first, entries = next(iter(rows.items()))
    if any(row["cost_per_1000"] for row in entries):
        drawn = cost_plot(entries, workers, first, {name: worth.curve for name, worth in knobs.items()})
        found["cost"] = f"cost and score, {first}", drawn
    for number, (group, entries) in enumerate(rows.items(), 1):
        found[str(number)] = group, plot(entries, group, routers=routers)
    return found


def _write(
    key: str, said: str, rows: Mapping[str, Sequence[Row]], knobs: Mapping[str, Spending], relied: Reliability
) -> None:
    flat = [
        {"group": group} | {name: value for name, value in row.items() if name != "shares"}
        for group, found in rows.items()
        for row in found
    ]
    write_report(f"{key}.csv", pd.DataFrame(flat).to_csv(index=False))
    worth = [{"router": name} | each.row for name, each in knobs.items()]
    whole = {"verdict": said, "groups": rows, "knobs": worth} | relied.records
    write_report(f"{key}.json", json.dumps(whole, indent=1) + "\n")


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
