"""The attempts that tell most come first: watched ones, then what has no label, and where the workers disagree."""

from __future__ import annotations

import pandas as pd

from models.evaluation.telling import most_telling
from models.ledger.labels import Cell


def test_the_order():
    known = pd.DataFrame(
        [("agreed", "a", "1", 1.0), ("agreed", "b", "1", 1.0), ("torn", "a", "1", 1.0), ("torn", "b", "1", 0.0)],
        columns=["question_id", "worker", "revision", "score"],
    )
    new = [Cell(name, "c", "1", 0, 2) for name in ("agreed", "torn", "new")]
    second, old, watched = Cell("torn", "c", "1", 1, 2), Cell("torn", "a", "1", 0, 2), Cell("agreed", "b", "1", 0, 2)
    cells = [old, second, *new, watched]
    found = most_telling(cells, known, [watched])
    assert found[0] == watched and {cell.question_id for cell in found[1:3]} == {"torn", "new"}
    assert found[3] == new[0] and found[4:] == [second, old] and sorted(found) == sorted(cells)
    assert most_telling(list(reversed(cells)), known, [watched]) == found
    assert most_telling([], known) == [] and len(most_telling(cells, known.iloc[:0])) == len(cells)
