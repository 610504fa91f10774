"""The comparison table: one row per entry, as plain values and as markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BadInput
from models.evaluation.baselines import BEST_SINGLE, ORACLE
from models.evaluation.metrics import (
    Entry,
    bootstrap,
    cost_per_1000,
    entropy,
    gap_closed,
    interval,
    rarely_solved,
    tokens_per_1000,
)

Row = dict[str, Any]


def table(entries: Sequence[Entry], workers: Sequence[str], resamples: int = 4000, seed: int = 0) -> list[Row]:
    """One row per entry, in the order given, as JSON values; None where a number is undefined.

    Keys: name, n, score, low, high (mean and its 95 % interval); gain, gain_low, gain_high (difference to the
    best single worker, paired); gap_closed, gap_low, gap_high (fraction of the difference from best single to oracle);
    regret (difference to the oracle); recall (mean score on the questions that one or two workers solve: with scores of
    0 and 1 the share of them that is solved; None where the workers' own entries are not all there);
    cost_per_1000 (USD); tokens_per_1000; shares {worker: fraction}; entropy (of the shares, bits).

    Raises BadInput where best single or oracle is missing, or entries differ in length.
    """
    names = [entry.name for entry in entries]
    if BEST_SINGLE not in names or ORACLE not in names or len({len(e.scores) for e in entries}) != 1:
        raise BadInput(f"a table needs {BEST_SINGLE!r} and {ORACLE!r}, on the same questions as the rest", "entries")
    scores = np.stack([entry.scores for entry in entries], axis=1)
    means, resampled = scores.mean(axis=0), bootstrap(scores, resamples, seed)
    single, oracle = names.index(BEST_SINGLE), names.index(ORACLE)
    closed = gap_closed(means, means[single], means[oracle])
    closed_resampled = gap_closed(resampled, resampled[:, [single]], resampled[:, [oracle]])
    rare, rows = _rare(entries, workers), []
    for i, entry in enumerate(entries):
        score = interval(means[i], resampled[:, i])
        gain = interval(means[i] - means[single], resampled[:, i] - resampled[:, single])
        gap = interval(closed[i], closed_resampled[:, i])
        row: Row = {"name": entry.name, "n": len(entry.scores)}
        row |= {"score": score.value, "low": score.low, "high": score.high}
        row |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        row |= {"gap_closed": gap.value, "gap_low": gap.low, "gap_high": gap.high}
        recall = float(entry.scores[rare].mean()) if rare.any() else None
        row |= {"regret": float(means[oracle] - means[i]), "recall": recall, "cost_per_1000": cost_per_1000(entry)}
        row |= {"tokens_per_1000": tokens_per_1000(entry), "entropy": entropy(entry)}
        shares = entry.shares.mean(axis=0).tolist()
        defined = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        rows.append(defined | {"shares": dict(zip(workers, shares, strict=True))})
    return rows


def _rare(entries: Sequence[Entry], workers: Sequence[str]) -> NDArray[np.bool_]:
    """[Q], the questions that one or two workers solve; none of them where a worker has no entry."""
    alone = {entry.name: entry.scores for entry in entries}
    if not all(worker in alone for worker in workers):
        return np.zeros(len(entries[0].scores), np.bool_)
    return rarely_solved(np.stack([alone[worker] for worker in workers], axis=1))


def markdown(rows: Sequence[Row]) -> str:
    """The table as markdown: a line per entry, with its five largest shares of at least 1 %."""
    return as_markdown([told(row) for row in rows])


def told(row: Row) -> dict[str, str]:
    """A row for a person, by column."""
    return {
        "": row["name"],
        "mean score [95 %]": _cell(row, "score", "low", "high", ".4f"),
        "to best single [95 %]": _cell(row, "gain", "gain_low", "gain_high", "+.4f"),
        "gap closed [95 %]": _cell(row, "gap_closed", "gap_low", "gap_high", ".1%"),
        "regret": _number(row["regret"], ".4f"),
        "recall where 1–2 solve": _number(row["recall"], ".3f"),
        "USD / 1,000": f"{row['cost_per_1000']:.4g}",
        "tokens / 1,000": _number(row["tokens_per_1000"], ",.0f"),
        "worker shares": _shares(row["shares"]),
        "entropy": f"{row['entropy']:.2f} bit",
    }


def as_markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of the same columns as a markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _cell(row: Row, value: str, low: str, high: str, form: str) -> str:
    if row[value] is None or row[low] is None or row[high] is None:
        return _number(row[value], form)
    return f"{row[value]:{form}} [{row[low]:{form}}, {row[high]:{form}}]"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _shares(shares: dict[str, float]) -> str:
    largest = sorted(shares.items(), key=lambda item: -item[1])[:5]
    return ", ".join(f"{worker} {share:.0%}" for worker, share in largest if share >= 0.01)
