"""The comparison table: one row per entry, as plain values and as markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.errors import BadInput
from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import Entry, bootstrap, cost_per_1000, gap_closed, interval

Row = dict[str, Any]


def table(entries: Sequence[Entry], workers: Sequence[str], resamples: int = 4000, seed: int = 0) -> list[Row]:
    """One row per entry, in the order given, as JSON values; None where a number is undefined.

    Keys: name, n, score, low, high (mean and its 95 % interval); gain, gain_low, gain_high (difference to the
    best single worker, paired); gap_closed, gap_low, gap_high (fraction of the difference from best single to oracle);
    regret (difference to the oracle); cost_per_1000 (USD); shares {worker: fraction}. Raises BadInput where best single
    or oracle is missing, or entries differ in length.
    """
    names = [entry.name for entry in entries]
    if BEST_SINGLE not in names or ORACLE not in names or len({len(e.scores) for e in entries}) != 1:
        raise BadInput(f"a table needs {BEST_SINGLE!r} and {ORACLE!r}, on the same questions as the rest", "entries")
    scores = np.stack([entry.scores for entry in entries], axis=1)
    means, resampled = scores.mean(axis=0), bootstrap(scores, resamples, seed)
    single, oracle = names.index(BEST_SINGLE), names.index(ORACLE)
    closed = gap_closed(means, means[single], means[oracle])
    closed_resampled = gap_closed(resampled, resampled[:, [single]], resampled[:, [oracle]])
    rows = []
    for i, entry in enumerate(entries):
        score = interval(means[i], resampled[:, i])
        gain = interval(means[i] - means[single], resampled[:, i] - resampled[:, single])
        gap = interval(closed[i], closed_resampled[:, i])
        row: Row = {"name": entry.name, "n": len(entry.scores)}
        row |= {"score": score.value, "low": score.low, "high": score.high}
        row |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        row |= {"gap_closed": gap.value, "gap_low": gap.low, "gap_high": gap.high}
        row |= {"regret": float(means[oracle] - means[i]), "cost_per_1000": cost_per_1000(entry)}
        shares = entry.shares.mean(axis=0).tolist()
        defined = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        rows.append(defined | {"shares": dict(zip(workers, shares, strict=True))})
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table as markdown: a line per entry, with its five largest shares of at least 1 %."""
    title = "| | mean score [95 %] | to best single [95 %] | gap closed [95 %] | USD / 1,000 | worker shares |"
    lines = [title, "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            row["name"],
            _cell(row, "score", "low", "high", ".4f"),
            _cell(row, "gain", "gain_low", "gain_high", "+.4f"),
            _cell(row, "gap_closed", "gap_low", "gap_high", ".1%"),
            f"{row['cost_per_1000']:.4g}",
            _shares(row["shares"]),
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Row, value: str, low: str, high: str, form: str) -> str:
    if row[value] is None:
        return "–"
    if row[low] is None or row[high] is None:
        return format(row[value], form)
    return f"{row[value]:{form}} [{row[low]:{form}}, {row[high]:{form}}]"


def _shares(shares: dict[str, float]) -> str:
    largest = sorted(shares.items(), key=lambda item: -item[1])[:5]
    return ", ".join(f"{worker} {share:.0%}" for worker, share in largest if share >= 0.01)
