"""The settings (`FUGU_…` variables), and opening the ledger and the pool from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

import models
from models.errors import BadInput
from tasks.machines.addresses import LOOPBACK, checked_postgresql, checked_redis, cluster_host
from tasks.setup.home import SHOWS_TEXTS, private_home

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from models.ledger.store import Ledger
    from models.workers.pool import Pool

HOUSE = "house"
"""The name of the embedded pool, its questions, its backbone and its conductor in settings and parameters."""

NONE = "none"
"""As questions: nothing is measured, and a worker serves by itself. The default of every pool but the house's."""

PROJECT = Path(models.__file__).resolve().parent.parent
"""The folder of `pyproject.toml` (the package is installed in place; an image copies the tree)."""


class Settings(BaseSettings):
    """Settings, read from the environment at each call of `settings`, so that a flow run sees its job's variables."""

    model_config = SettingsConfigDict(env_prefix="FUGU_", env_ignore_empty=True, frozen=True, allow_inf_nan=False)

    home: Path = Field(
        PROJECT / ".fugu", description="folder for all written data: ledger, backbones, reports, Prefect"
    )
    data: Path = Field(PROJECT / "data", description="folder of pools, questions and the catalog, read only")
    ledger_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in `home`")
    pool: str = Field("house", description="a name in `data/pools` or `home/pools`, or the path of a pool file")
    questions: str = Field(
        "house",
        description="`house`, the path of a JSONL file, or `none`; unset: `house` for the house pool, else `none`",
    )
    preset: str = Field("first-light", description="an entry of `data/presets.yaml`")
    backbone: str = Field("house", description="`house`, a folder, or a hub's name such as Qwen/Qwen3-0.6B")
    conductor: str = Field(
        "",
        description="the plan writer: `house`, a checkpoint's folder, `worker:NAME` or `fixed:FILE`; "
        "empty: the house's on the house's pool, else a worker of the pool",
    )
    max_steps: int = Field(5, ge=1, le=64, description="maximum number of steps in a plan")
    max_subtask_chars: int = Field(4000, ge=1, description="maximum characters of a step's subtask")
    host: str = Field("127.0.0.1", description="the endpoint's address; off loopback only where there are API keys")
    require_key: bool = Field(False, description="whether an API key is needed while the home has none")
    port: int = Field(8000, ge=0, le=65535, description="the endpoint's port; 0 takes a free one")
    aliases: str = Field("", description="other names of the models, separated by commas: claude-*=fugu")
    endpoint_url: str = Field("", description="the endpoint's URL for Prefect's links to it; unset: where it listens")
    max_body_bytes: int = Field(1 << 25, ge=1, description="maximum bytes of a request")
    max_messages: int = Field(4096, ge=1, description="maximum messages in a request")
    max_requests: int = Field(512, ge=1, description="requests that a process answers at a time; more get a 503")
    drain_s: float = Field(4.0, ge=0, le=3600, description="seconds for answers under way when an endpoint is stopped")
    max_fields: int = Field(16_384, ge=1, description="maximum values in one field of a request or message")
    prefect_port: int = Field(4200, ge=0, le=65535, description="the Prefect server's port; 0 takes a free one")
    prefect_database: str = Field(
        "",
        description="PostgreSQL of `fugu up`'s Prefect server, postgresql+asyncpg://…; empty: SQLite in `home`",
    )
    prefect_redis: str = Field(
        "", description="Redis for that server's messages, redis://HOST:PORT/NUMBER; empty: its own memory"
    )
    hosts: str = Field("", description="other hosts accepted by the ports, separated by commas: NAME or NAME:PORT")
    origins: str = Field("", description="other origins whose pages may use the ports, with commas: https://NAME")

    memo_bytes: int = Field(1 << 28, ge=0, description="maximum bytes of a backbone's remembered states")
    memo_half: bool = Field(False, description="whether remembered states below a layer are kept in half precision")
    prefix_bytes: int = Field(1 << 31, ge=0, description="maximum bytes of KV cache kept between turns")
    read_tokens: int = Field(
        4096, ge=16, description="maximum tokens of a conversation that a router reads: its beginning and its end"
    )
    precision: Literal["native", "int8"] = Field(
        "native",
        description="`int8`: the endpoint's routers run in int8 on a CPU if that agrees with float32 on 99.5 % of "
        "held-out texts; the log has the figure",
    )
    cuda_graphs: bool = Field(False, description="whether routers use CUDA graphs on a GPU; not measured there yet")
    keep_days: float = Field(30.0, gt=0, le=36500, description="days for which texts of served requests are kept")
    keep_bytes: int = Field(1 << 30, ge=0, description="maximum bytes of those texts; the oldest are removed first")
    show_texts: bool | None = Field(
        None, description="whether Prefect shows questions and answers; unset: only in a home made with --for-trying"
    )
    lease_s: float = Field(
        30.0, gt=0, le=86_400, description="seconds until a dead process's call is free; a live one renews its lease"
    )

    breakers: bool = Field(True, description="whether a worker that keeps failing is not asked for a while")
    keep_margin: float = Field(
        1.0,
        ge=0,
        description="by how much (in logits) a router has to prefer another worker to take a conversation from the one "
        "that answered it last",
    )
    task_runner: Literal["threads", "dask", "ray"] = Field(
        "threads", description="where the tasks of flows run: threads of the flow, or processes of Dask or Ray"
    )
    task_runner_size: int = Field(
        0, ge=0, le=1024, description="threads, or processes; 0: 64 threads, or a process for each CPU"
    )
    task_runner_address: str = Field(
        "", description="a running cluster: tls://HOST:PORT of Dask's scheduler, ray://HOST:PORT or HOST:PORT of Ray"
    )

    @model_validator(mode="before")
    @classmethod
    def _own_questions(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The house's questions are about what the house's workers can do: another pool is asked them only by name."""
        house = given.get("pool", HOUSE) == HOUSE
        return {"questions": HOUSE if house else NONE, **given}

    @field_validator("home", "data")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """Flow runs start in an empty folder, so no path may be relative to the current one."""
        return path.expanduser().resolve()

    @field_validator("pool", "questions")
    @classmethod
    def _absolute_file(cls, source: str) -> str:
        return str(Path(source).expanduser().resolve()) if _is_path(source) else source

    @field_validator("backbone")
    @classmethod
    def _absolute_folder(cls, source: str) -> str:
        folder = Path(source).expanduser()
        return str(folder.resolve()) if source != "house" and folder.is_dir() else source

    @field_validator("conductor")
    @classmethod
    def _absolute_conductor(cls, source: str) -> str:
        kind, colon, rest = source.partition(":")
        if kind == "fixed" and colon:
            return f"fixed:{Path(rest).expanduser().resolve()}"
        return source if source in ("", "house") or colon else str(Path(source).expanduser().resolve())

    @field_validator("prefect_database")
    @classmethod
    def _postgresql(cls, url: str) -> str:
        return url and checked_postgresql(url)

    @field_validator("prefect_redis")
    @classmethod
    def _redis(cls, url: str) -> str:
        return url and checked_redis(url)

    @model_validator(mode="after")
    def _reachable(self) -> Settings:
        if self.task_runner_address:
            host = cluster_host(self.task_runner, self.task_runner_address)
            if self.database_is_a_file and host not in LOOPBACK:
                raise ValueError(
                    f"tasks on {host} cannot write a SQLite ledger of this machine: set FUGU_LEDGER_URL to PostgreSQL"
                )
        return self

    @property
    def database_is_a_file(self) -> bool:
        """Whether the ledger is SQLite's, which the processes of one machine share."""
        return not self.ledger_url or self.ledger_url.startswith("sqlite")

    @property
    def database(self) -> str | URL:
        """The ledger's URL, absolute."""
        from models.ledger.store import sqlite_url

        return self.ledger_url or sqlite_url(self.home / "ledger.db")

    @property
    def shows_texts(self) -> bool:
        """Whether Prefect's names, pages, parameters and logs may contain texts of users and workers."""
        if self.show_texts is not None:
            return self.show_texts
        return self.pool == "house" and (self.home / SHOWS_TEXTS).is_file()

    def environment(self) -> dict[str, str]:
        """The variables that give another process the same settings."""
        return {
            "FUGU_HOME": str(self.home),
            "FUGU_DATA": str(self.data),
            "FUGU_LEDGER_URL": self.ledger_url,
            "FUGU_POOL": self.pool,
            "FUGU_QUESTIONS": self.questions,
            "FUGU_PRESET": self.preset,
            "FUGU_LEASE_S": str(self.lease_s),
            "FUGU_BACKBONE": self.backbone,
            "FUGU_CONDUCTOR": self.conductor,
            "FUGU_MAX_STEPS": str(self.max_steps),
            "FUGU_MAX_SUBTASK_CHARS": str(self.max_subtask_chars),
            "FUGU_REQUIRE_KEY": str(self.require_key).lower(),
            "FUGU_ENDPOINT_URL": self.endpoint_url,
            "FUGU_MAX_BODY_BYTES": str(self.max_body_bytes),
            "FUGU_MAX_MESSAGES": str(self.max_messages),
            "FUGU_MAX_REQUESTS": str(self.max_requests),
            "FUGU_DRAIN_S": str(self.drain_s),
            "FUGU_MAX_FIELDS": str(self.max_fields),
            "FUGU_MEMO_BYTES": str(self.memo_bytes),
            "FUGU_MEMO_HALF": str(self.memo_half).lower(),
            "FUGU_PREFIX_BYTES": str(self.prefix_bytes),
            "FUGU_READ_TOKENS": str(self.read_tokens),
            "FUGU_PRECISION": self.precision,
            "FUGU_CUDA_GRAPHS": str(self.cuda_graphs).lower(),
            "FUGU_KEEP_DAYS": str(self.keep_days),
            "FUGU_KEEP_BYTES": str(self.keep_bytes),
            "FUGU_SHOW_TEXTS": str(self.shows_texts).lower(),
            "FUGU_BREAKERS": str(self.breakers).lower(),
            "FUGU_KEEP_MARGIN": str(self.keep_margin),
            "FUGU_TASK_RUNNER": self.task_runner,
            "FUGU_TASK_RUNNER_SIZE": str(self.task_runner_size),
            "FUGU_TASK_RUNNER_ADDRESS": self.task_runner_address,
        }


def settings() -> Settings:
    """The current settings. Raises BadInput, naming the variable, for an invalid value."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = first["loc"][0] if first["loc"] else "task_runner_address"  # several fields together make that wrong
        variable = f"FUGU_{field}".upper()
        raise BadInput(f"{variable}: {first['msg']}", variable) from None


def open_ledger() -> Ledger:
    """Open the home's ledger. Its schema is upgraded by the `fugu` commands, not here."""
    from models.ledger.store import Ledger

    here = settings()
    private_home(here.home)
    return Ledger(here.database, unsettled=here.home / "unsettled")


def local_notes() -> Path:
    """The folder in which the processes of local models leave their addresses."""
    return settings().home / "local"


def config_file(name: str) -> Path:
    """`name` in the home where that file exists, else in the data."""
    own = (here := settings()).home / name
    return own if own.is_file() else here.data / name


def pool_path(name_or_path: str | Path | None = None) -> Path:
    """The file of a pool. Raises BadInput, listing the known pools, for an unknown name."""
    here = settings()
    wanted = str(name_or_path or here.pool)
    if _is_path(wanted):
        return Path(wanted).expanduser().resolve()
    folders = (here.data / "pools", here.home / "pools")
    for folder in folders:
        if (path := folder / f"{wanted}.yaml").is_file():
            return path
    known = sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))
    raise BadInput(f"no pool {wanted!r}: give a file's path or one of {', '.join(known) or 'none'}", "pool")


def _is_path(source: str) -> bool:
    return "/" in source or source.endswith((".yaml", ".yml", ".jsonl"))


def open_pool(name_or_path: str | Path | None = None) -> Pool:
    """Load a pool whose workers can be asked: house workers' provider is registered, local models are looked for."""
    from models.workers import local

    pool = local.opened(load_pool(name_or_path), local_notes())
    if any(worker.is_house for worker in pool.workers):
        from models.house.handler import register

        register()
    return pool


def load_pool(name_or_path: str | Path | None = None) -> Pool:
    """Load a pool without litellm. Raises BadFile, BadInput (also for an unknown house worker)."""
    from models.workers.pool import Pool

    pool = Pool.load(pool_path(name_or_path))
    if house := [worker.model for worker in pool.workers if worker.is_house]:
        from models.house import provider

        for model in house:
            provider.check(model)
    return pool
