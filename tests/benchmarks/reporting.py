"""What every benchmark prints last: one JSON line with its figures, their bounds, and whether they are kept."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence

_HOLDS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "==": operator.eq}


def report(benchmark: str, figures: Mapping[str, float], bounds: Mapping[str, Sequence[object]]) -> None:
    """Print the line. `bounds`: {figure: [comparison, limit]}; a miss is told in `ok`, never by the exit status."""
    ok = all(_HOLDS[str(comparison)](figures[name], limit) for name, (comparison, limit) in bounds.items())
    print(json.dumps({"benchmark": benchmark, "figures": figures, "bounds": bounds, "ok": ok}))
