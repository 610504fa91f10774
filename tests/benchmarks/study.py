"""What is evolution worth? The study of `tests/studies/study_evolution.py` as one JSON line.

Several seeds from their warm starts on held-out questions that are used once, beside the same search given its
fitnesses in a random order; intervals by bootstrap over seeds and questions. The arms, pools and sizes are those of
`tests/studies/studies.yaml`; seeds that are done are taken from the cache of FUGU_HOME. Hours on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import beside  # noqa: F401 (tests/studies can be imported)
import numpy as np
from figures import over_seeds
from reporting import report
from study_evolution import FIRST, WARM, study_evolution

CONTROL = "control"


def figures(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean gains on held-out questions, and the low ends of their intervals."""
    held_out = {name: np.array([run["held out"][name] for run in runs]) for name in (WARM, FIRST, CONTROL)}
    gain, over = over_seeds(held_out[FIRST] - held_out[WARM]), over_seeds(held_out[FIRST] - held_out[CONTROL])
    return {
        "seeds": len(runs),
        "questions": held_out[WARM].shape[1],
        "gain": gain.value,
        "gain_low": gain.low,
        "over_control": over.value,
        "over_control_low": over.low,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pool", choices=("house", "simulated"), default="house")
    pool = arguments.parse_args().pool
    found = figures(asyncio.run(study_evolution(pool)))
    report(f"study-{pool}", found, {"gain": (">=", 0.02), "gain_low": (">", 0.0), "over_control_low": (">", 0.0)})


if __name__ == "__main__":
    main()
