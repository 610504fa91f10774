"""Coding agents as values: a command line, the paths it may read, and its limits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

import models
from models.files import read_yaml
from models.grading.repository import RepositoryTask
from models.isolation.workshop import PORT, Command, Room

URL = f"http://127.0.0.1:{PORT}/v1"
"""The endpoint's URL in every workshop."""


class AgentRoom(BaseModel):
    """Limits of an agent and of all that it starts; memory is per process. The fields are those of `Room`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    wall_s: float = Field(300.0, gt=0, le=7200)
    cpu_s: int = Field(300, gt=0, le=7200)
    memory_mb: int = Field(2048, ge=64)
    address_mb: int = Field(0, ge=0)
    disk_mb: int = Field(256, ge=8)
    processes: int = Field(128, ge=4)


class Agent(BaseModel):
    """An entry of `data/agents.yaml`, which lists the placeholders. `revision`: change it when the agent changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    command: tuple[str, ...] = Field(min_length=1)
    reads: tuple[str, ...] = ()
    files: Mapping[str, str] = Field(default_factory=dict)
    env: Mapping[str, str] = Field(default_factory=dict)
    room: AgentRoom = AgentRoom()
    revision: str = "1"

    @property
    def digest(self) -> str:
        """sha256 (hex) of all fields; the programs themselves are not included."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def paths(self) -> list[Path]:
        """The paths that it may read."""
        return [Path(_filled(path, {})) for path in self.reads]

    def limits(self) -> Room:
        """Its limits, for a workshop."""
        room = self.room
        return Room(
            cpu_s=room.cpu_s,
            wall_s=room.wall_s,
            memory_bytes=room.memory_mb * 2**20,
            address_bytes=room.address_mb * 2**20,
            processes=room.processes,
            disk_bytes=room.disk_mb * 2**20,
        )

    def at_work(self, task: RepositoryTask, model: str) -> Command:
        """The command line for a task."""
        values = {"instruction": task.instruction, "check": task.check, "model": model, "url": URL}
        return Command([_filled(word, values) for word in self.command])

    def at_home(self, model: str) -> dict[str, bytes]:
        """The files of its home folder."""
        return {path: _filled(text, {"model": model, "url": URL}).encode() for path, text in self.files.items()}

    def environment(self, model: str) -> dict[str, str]:
        """Its environment variables, besides those of every workshop."""
        own = {name: _filled(value, {"model": model, "url": URL}) for name, value in self.env.items()}
        return {"OPENAI_BASE_URL": URL, "OPENAI_API_KEY": "none", "OPENAI_MODEL": model, **own}


def load_agent(path: Path, name: str) -> Agent:
    """The agent of that name. Raises BadFile if the file has no such entry, or an invalid one."""
    return read_yaml(path).entry(Agent, name, "agent")


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with `{name}` placeholders replaced, in one pass: inserted values are not expanded again."""
    places = {"models": str(Path(models.__file__).resolve().parent), **values}
    pieces = text.split("{")
    filled = pieces[0]
    for piece in pieces[1:]:
        name, brace, rest = piece.partition("}")
        filled += places[name] + rest if brace and name in places else "{" + piece
    return filled
