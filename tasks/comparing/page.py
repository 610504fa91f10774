"""What a comparison on recorded scores leaves: a page for a person, and tables for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import Interval
from models.evaluation.noise import CORRECTED, ONCE
from models.evaluation.plot import cost_plot, curve_plot, plot
from models.evaluation.robustness import Flips
from models.evaluation.spending import TITLE
from models.evaluation.table import Row, told
from models.files import staged
from tasks.comparing.contenders import BY_TASK, OFFERED_SINGLE, OFFERED_TABLE
from tasks.comparing.study import CANDIDATES, Learned, Study
from tasks.pages.html import Section, html
from tasks.pages.reliability import Reliability

NO_HARM = 0.01
"""The gain on tasks left out may reach so far below zero, at the lower end of its interval."""


def verdict(study: Study) -> str:
    """Whether a router is worth its place on these scores, in two sentences."""
    name = best(study)
    found = [rows[name] for rows in study.rows.values()]
    mean, sure = _mean(study, name, "gain"), all(row["gain_low"] > 0 for row in found)
    closed = float(np.mean([row["gap_closed"] or 0.0 for row in found]))
    many = f" ({len(found)} seeds)" if len(found) > 1 else ""
    said = "gains" if sure else "gains nothing that is certain:"
    first = f"{name} {said} {mean:+.4f} over the best single worker{many}, {closed:.0%} of what choosing could bring."
    if not study.unseen:
        return f"{first} No task was left out, so whether it holds on one that it was not taught is not known."
    over, _ = study.unseen_gain(name)
    certain = over.high < 0
    if over.low >= -NO_HARM:
        holds = "loses little" if certain else "does no harm"
    else:
        holds = "does harm" if certain else "may do harm"
    return (
        f"{first} On tasks that it was not taught it {holds}: {_interval(over)}, leaving the best single worker on "
        f"{moved(study, name):.0%} of the questions."
    )


def moved(study: Study, name: str) -> float:
    """The share of questions of tasks left out on which it does not choose the best single worker of the others."""
    found = study.unseen[name]
    return float(np.average([each.moved for each in found], weights=[len(each.gains) for each in found]))


def best(study: Study) -> str:
    """The candidate with the highest mean score; the folds that it is chosen by are those that are shown."""
    return max(CANDIDATES, key=lambda name: _mean(study, name, "gain"))


def _mean(study: Study, name: str, figure: str) -> float:
    """A row's figure, averaged over the seeds."""
    return float(np.mean([rows[name][figure] for rows in study.rows.values()]))


def write(study: Study, title: str, folder: Path) -> Path:
    """Write `comparison.html`, `.json` and `.csv` to `folder`; returns the page's path."""
    rows = {seed: list(found.values()) for seed, found in study.rows.items()}
    with staged(folder / "comparison.csv") as file:
        flat = [{"seed": seed} | {k: v for k, v in row.items() if k != "shares"} for seed in rows for row in rows[seed]]
        pd.DataFrame(flat).to_csv(file, index=False)
    with staged(folder / "comparison.json") as file:
        found = {"verdict": verdict(study), "seeds": rows, "offered": _offered(study), "knobs": _knobs(study)}
        found |= {"unseen": _unseen(study), "curve": _curve(study)} | reliability(study).records
        json.dump(found, file, indent=1)
    page = folder / "comparison.html"
    with staged(page) as file:
        file.write(_html(study, title, rows))
    return page


def reliability(study: Study) -> Reliability:
    """What the study says beside scores, each seed by itself."""
    calibrations = {
        f"{name}, seed {seed}": each for seed, of in study.calibrations.items() for name, each in of.items()
    }
    flips = {f"{name}, seed {seed}": each for seed, of in study.flips.items() for name, each in of.items()}
    notes = [note for note in (study.overlap, ONCE if study.once else CORRECTED) if note]
    return Reliability(study.families, calibrations, flips, study.latencies, notes)


def _unseen(study: Study) -> list[dict[str, Any]]:
    return [
        {"router": name, "task": each.task, "n": len(each.gains), "gain": float(each.gains.mean()), "moved": each.moved}
        for name, found in study.unseen.items()
        for each in found
    ]


def _curve(study: Study) -> list[dict[str, Any]]:
    return [
        {"questions": p.questions, "gain": p.gain.value, "low": p.gain.low, "high": p.gain.high, "gap_closed": p.gap}
        for p in study.curve
    ]


def _knobs(study: Study) -> list[dict[str, Any]]:
    return [
        {"seed": seed, "router": name} | worth.row
        for seed, found in study.spending.items()
        for name, worth in found.items()
    ]


def _worth(study: Study) -> list[dict[str, str]]:
    """What the knobs are worth, for a person."""
    return [
        {"": f"{name}, seed {seed}"} | worth.told
        for seed, found in study.spending.items()
        for name, worth in found.items()
    ]


OFFERING = "Where each question offers a random part of the workers"


def _offered(study: Study) -> list[dict[str, str]]:
    """What each candidate gains there over each rival, by seed."""
    return [
        {"": f"{name} over the {over}", "gain [95 %], by seed": "; ".join(_interval(each) for each in gains.values())}
        for name in CANDIDATES
        for over in (OFFERED_SINGLE, OFFERED_TABLE)
        if (gains := study.offered_gain(name, over))
    ]


def _enough(study: Study) -> str:
    if study.enough is None:
        return "no number of train questions tried makes the gain certain"
    return f"the gate may open from {study.enough:,} train questions on"


def lines(study: Study) -> list[str]:
    """The figures behind the verdict, for a terminal: the candidates and each rival, then the tasks left out, and what
    fewer train questions would have brought."""
    shown = [BEST_SINGLE, *CANDIDATES, *study.rivals(), ORACLE]
    width = max(map(len, shown))
    found = [f"{'':{width}}  score   gain over the best single worker, by seed"]
    for name in sorted(shown, key=lambda each: -_mean(study, each, "score")):
        gains = "; ".join(_gain(rows[name]) for rows in study.rows.values())
        found.append(f"{name:{width}}  {_mean(study, name, 'score'):.4f}  {gains}")
    if offered := _offered(study):
        found.append(f"{OFFERING}:")
        found += [f"  {' '.join(row.values())}" for row in offered]
    if worth := _worth(study):
        found.append(f"{TITLE}:")
        found += [f"  {row.pop('')}: {_pairs(row)}" for row in worth]
    for name in (name for name in CANDIDATES if study.unseen):
        over, tasks = study.unseen_gain(name)
        found.append(
            f"{name}, tasks left out: {_interval(over)} over questions, {_interval(tasks)} over tasks; "
            f"{moved(study, name):.0%} of the questions leave the best single worker"
        )
        worst = min(study.unseen[name], key=lambda each: each.gains.mean())
        found.append(f"  worst task: {worst.task}, {worst.gains.mean():+.4f} on {len(worst.gains)} questions")
    if study.curve:
        points = "; ".join(f"{point.questions:,}: {_interval(point.gain)}" for point in study.curve)
        found.append(f"{BY_TASK} by train questions: {points}; {_enough(study)}")
    return found + _relied(study)


def _relied(study: Study) -> list[str]:
    """Calibration and flips by seed, then the latency of a decision, and what the figures cannot say."""
    found = []
    for name in CANDIDATES:
        own = [of[name] for of in study.calibrations.values()]
        errors = "; ".join(f"{each.ece:.3f} ({each.chance:.3f} by chance)" for each in own)
        brier = "; ".join(f"{each.brier:.3f}" for each in own)
        found.append(f"{name}, expected beside measured score: ECE {errors}; Brier {brier}")
        for each in zip(*(of[name] for of in study.flips.values()), strict=True):
            rates, losses = ("; ".join(some) for some in zip(*map(_flipped, each), strict=True))
            found.append(f"  {each[0].kind}: {rates} of {each[0].questions} choices flip, for a loss of {losses}")
        if name in study.latencies:
            found.append(f"  a decision on this machine: {_pairs(study.latencies[name].told)}")
    return [*found, *reliability(study).notes]


def _flipped(found: Flips) -> tuple[str, str]:
    return f"{found.rate.value:.1%}", _interval(found.loss)


def _pairs(told: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _gain(row: Row) -> str:
    return _interval(Interval(row["gain"], row["gain_low"], row["gain_high"]))


def _interval(found: Interval) -> str:
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _html(study: Study, title: str, rows: dict[int, list[Row]]) -> str:
    first = next(iter(rows.values()))
    drawings = [plot(first, title, routers=CANDIDATES)]
    if any(row["cost_per_1000"] for row in first):
        knobs = {name: each.curve for name, each in next(iter(study.spending.values()), {}).items()}
        drawings.insert(0, cost_plot(first, study.workers, title, knobs))
    tables = [
        Section(f"Seed {seed}, {found[0]['n']} questions", [told(row) for row in found]) for seed, found in rows.items()
    ]
    tables += reliability(study).sections
    if offered := _offered(study):
        tables.append(Section(OFFERING, offered))
    if worth := _worth(study):
        tables.append(Section(TITLE, worth))
    if study.unseen:
        tables.append(Section("Tasks left out", [_told(row) for row in _unseen(study)]))
    if study.curve:
        curve = [_point(point) for point in study.curve]
        tables.append(Section(f"Learning curve of {BY_TASK}: {_enough(study)}", curve))
        if len(study.curve) > 1:
            drawings.append(curve_plot({p.questions: p.gain for p in study.curve}))
    return html(title, verdict(study), drawings, tables)


def _point(point: Learned) -> dict[str, str]:
    return {
        "": f"{point.questions:,} train questions",
        "gain [95 %]": _interval(point.gain),
        "gap closed": "–" if point.gap is None else f"{point.gap:.1%}",
    }


def _told(row: dict[str, Any]) -> dict[str, str]:
    return {
        "": f"{row['router']}, {row['task']}",
        "questions": str(row["n"]),
        "gain": f"{row['gain']:+.4f}",
        "leaves the best single worker": f"{row['moved']:.0%}",
    }
