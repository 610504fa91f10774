"""What a checkpoint's folder says of how it was taught: the format of its prompts, and the workers that it knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import BadFile
from models.files import staged
from models.workers.pool import Pool

SETTINGS = "conductor.json"
"""The file in a checkpoint's folder; without it the conductor reads the full prompt, and may plan for any pool."""

Prompt = Literal["full", "compact", "carded"]


class Taught(BaseModel):
    """`prompt`: one of `models.conductor.plan.writers.PROMPTS`. `pool`: the name of the pool it was taught on.

    `workers`: that pool's workers by ordinal, each with its model; none where that was not recorded. `skills`: the
    tasks in the cards that it was shown.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: Prompt = "full"
    pool: str = ""
    workers: dict[str, str] = {}
    skills: tuple[str, ...] = ()

    @classmethod
    def on(cls, prompt: Prompt, pool: Pool, skills: Sequence[str] = ()) -> Taught:
        """Taught on this pool."""
        workers = {worker.name: worker.model for worker in pool.workers}
        return cls(prompt=prompt, pool=pool.name, workers=workers, skills=tuple(skills))

    @classmethod
    def read(cls, folder: Path) -> Taught:
        """Raises BadFile."""
        path = folder / SETTINGS
        if not path.exists():
            return cls()
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadFile(path, f"{where} {first['input']!r}: {first['msg']}") from None
        except (OSError, ValueError) as error:
            raise BadFile(path, f"cannot be read: {error}") from None

    def write(self, folder: Path) -> None:
        with staged(folder / SETTINGS) as file:
            file.write(json.dumps(self.model_dump(mode="json")) + "\n")

    def misfit(self, pool: Pool, cards: Mapping[str, str]) -> str | None:
        """Why it cannot plan for a pool, as a sentence; `None` where it can. `cards`: worker -> what was measured.

        One that reads no cards knows workers by their place alone. One that names skills must have been taught some of
        those that were measured. One that reads the full prompt can read of any workers.
        """
        if self.prompt == "compact" and self.workers:
            known = list(self.workers.values())
            if [worker.model for worker in pool.workers] != known[: len(pool.workers)]:
                return self._was_taught(f"the workers {', '.join(self.workers)} in this order", pool)
        if self.prompt == "carded" and self.skills and not skills_of(cards) & set(self.skills):
            return self._was_taught(f"the skills {', '.join(self.skills)}", pool)
        return None

    def _was_taught(self, what: str, pool: Pool) -> str:
        return (
            f"this conductor was taught another pool ({self.pool or 'unnamed'}): it knows {what}, "
            f"and cannot plan for the pool {pool.name!r}"
        )


def skills_of(cards: Mapping[str, str]) -> set[str]:
    """The tasks that the cards name: "arithmetic 0.98, facts 0.02"."""
    return {skill.rpartition(" ")[0] for card in cards.values() if card for skill in card.split(", ")}
