"""What a comparison says beside scores: by task, calibration, flips, latency, luck and contamination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.evaluation import calibration, families, latency, robustness
from models.evaluation.calibration import Calibration
from models.evaluation.families import Family
from models.evaluation.latency import Latency
from models.evaluation.robustness import Flips
from tasks.pages.html import Section

CALIBRATED = (
    "A head of tasks adds up expected scores; of rows, τ times a difference of logits is one of expected scores, and "
    "their level is the mean of train. ECE over bins of equally many questions; by chance: what it would be without "
    "any error. Brier skill: over a constant prediction."
)
READ = "The router alone, on conversations that no cache had read; what an endpoint adds is not in it."


@dataclass(frozen=True)
class Reliability:
    """`families`: by task. The others by router. `notes`: of contamination and of the oracle's luck, sentences."""

    families: Sequence[Family] = ()
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    flips: Mapping[str, Sequence[Flips]] = field(default_factory=dict)
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def sections(self) -> list[Section]:
        """For a person; what was not measured is left out."""
        flips = [{"": name} | each.told for name, found in self.flips.items() for each in found]
        found = [
            Section(families.TITLE, [each.told for each in self.families]),
            Section(
                calibration.TITLE, [{"": name} | each.told for name, each in self.calibrations.items()], CALIBRATED
            ),
            Section(robustness.TITLE, flips, robustness.NOTE),
            Section(latency.TITLE, [{"": name} | each.told for name, each in self.latencies.items()], READ),
        ]
        notes = [Section("What these figures cannot say", [], " ".join(self.notes))] if self.notes else []
        return [section for section in found if section.rows] + notes

    @property
    def records(self) -> dict[str, Any]:
        """As JSON values, lists of rows that make a table each."""
        return {
            "tasks": [each.row for each in self.families],
            "calibration": [{"router": name} | each.row for name, each in self.calibrations.items()],
            "flips": [{"router": name} | each.row for name, found in self.flips.items() for each in found],
            "latency": [{"router": name} | each.row for name, each in self.latencies.items()],
            "notes": list(self.notes),
        }
