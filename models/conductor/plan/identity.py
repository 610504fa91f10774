"""What tells one conductor from another."""

from __future__ import annotations

from models.conductor.plan.writers import CheckpointWriter, FixedWriter, PlanWriter
from models.digest import json_digest


def digest_of(writer: PlanWriter) -> str:
    """sha256 (hex) of what writes the plans: a checkpoint's files, a plan's text, or the writer's name."""
    match writer:
        case CheckpointWriter() if writer.digest:
            return writer.digest
        case FixedWriter():
            return json_digest(writer.text)
    return json_digest(writer.name)
