"""`fugu export`, and taking in what it wrote: a router with its pool's entries, its preset and its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deployments.commands.options import Home, PoolName, PresetName

if TYPE_CHECKING:
    from models.fugu.package import Package
    from models.ledger.registry import Checkpoint
    from models.ledger.store import Ledger
    from models.workers.pool import Pool
    from tasks.comparing.judged import Judged

LEARNED = ("warm", "evolved", "tasks")
"""Kinds of checkpoints that a comparison finds by itself, where their rows are the pool's workers."""

ADOPTED = "adopted"

LEAST_SECRET = 8
"""Shorter values of keys (`none`, `EMPTY`) guard nothing, and are words."""


class Meta(BaseModel):
    """What a package has to say of its router. The rest of a checkpoint's `meta` says how it came about."""

    model_config = ConfigDict(strict=True, extra="allow")

    backbone: str = Field(max_length=1000)
    backbone_digest: str = Field(pattern="^[0-9a-f]{64}$")
    layout: str = Field(max_length=100)
    workers: list[str] = Field(min_length=1, max_length=10_000)
    roles: bool
    released: str | None = None
    head: dict[str, Any] | None = None


def export(
    to: Annotated[Path, typer.Option(help="The file to write; one that is there is replaced.")],
    what: Annotated[
        str,
        typer.Argument(metavar="ROUTER", help="A checkpoint's id or how it begins, or `fugu` or `trinity`."),
    ] = "fugu",
    pool: PoolName = None,
    preset: PresetName = None,
    home: Home = None,
) -> None:
    """Write a router with its workers' entries, its preset and the gate's figures to one file; print its digest.

    No key is in it, and nothing that runs: `fugu adopt FILE --digest …` takes it in elsewhere.
    """
    from deployments.migrations import upgrade
    from models.errors import BadFile
    from models.fugu.package import Package, write
    from models.workers.pool import Pool
    from tasks.comparing.judged import as_json, kept
    from tasks.setup.preset import load_preset
    from tasks.setup.settings import open_ledger, pool_path, settings

    here, chosen = settings(), Pool.load(pool_path())
    upgrade(here.database)
    checkpoint = _exported(open_ledger(), what)
    members = chosen.of(checkpoint.meta["workers"])
    name = str(checkpoint.meta.get("preset") or here.preset)
    evidence = kept(checkpoint.id)
    # An absolute folder means nothing elsewhere, and says how this machine is laid out.
    backbone = Path(checkpoint.meta["backbone"])
    package = Package(
        name=checkpoint.name,
        vector=checkpoint.vector,
        meta=checkpoint.meta | ({"backbone": backbone.name} if backbone.is_absolute() else {}),
        pool=_entries(members),
        preset={"name": name, "values": load_preset(name).model_dump(mode="json")},
        evidence=as_json(evidence),
    )
    _refuse_secrets(package, members)
    try:
        digest = write(to, package)
    except OSError as error:
        raise BadFile(to, f"cannot be written: {error.strerror or error}") from None
    typer.echo(f"{to}: router {checkpoint.id[:12]} over {', '.join(members.names)}")
    for line in _said(evidence):
        typer.echo(line)
    typer.echo(digest)


def _exported(ledger: Ledger, what: str) -> Checkpoint:
    from models.errors import BadInput, NotFound
    from models.ledger import registry
    from tasks.setup.checkpoint import MODELS

    if what not in MODELS:
        return registry.find_checkpoint(ledger, what)
    champion = registry.champion(ledger, what)
    if champion is None:
        raise NotFound(f"{what} has no champion yet: there is no router to export")
    if champion.target["kind"] != "router":
        raise BadInput(f"{what} is served by the worker {champion.target['worker']}: only a router can be exported")
    return registry.load_checkpoint(ledger, champion.target["checkpoint"])


def _entries(pool: Pool) -> dict[str, Any]:
    """The pool as its file could say it. Of headers those stay that are a variable: another's value may be a secret."""
    from models.workers.fitting.stated import is_reference

    found = []
    for worker in pool.workers:
        entry = worker.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        headers = {name: text for name, text in worker.headers.items() if is_reference(text)}
        if left := worker.headers.keys() - headers.keys():
            typer.echo(f"note: headers of {worker.name} are left out: {', '.join(sorted(left))}", err=True)
        entry.pop("headers", None)
        found.append(entry | ({"headers": headers} if headers else {}))
    return {"name": pool.name, "workers": found}


def _refuse_secrets(package: Package, pool: Pool) -> None:
    """Raises BadInput where the value of a worker's key would be written."""
    import json

    from models.errors import BadInput

    text = json.dumps([package.name, package.meta, package.pool, package.evidence], ensure_ascii=False)
    for worker in pool.workers:
        if any(len(secret) >= LEAST_SECRET and secret in text for secret in worker.secrets()):
            raise BadInput(f"a key of worker {worker.name!r} stands in the pool's file or the checkpoint: not exported")


def take(path: Path, digest: str | None, serve: Sequence[str]) -> None:
    """Check a package whole, then save its router as a checkpoint, and let it serve these models."""
    from deployments.migrations import upgrade
    from models.fugu.package import read
    from models.ledger import registry
    from models.workers.pool import Pool
    from tasks.comparing.judged import keep_all, kept
    from tasks.setup.settings import open_ledger, pool_path, settings

    package, found = read(path, digest)
    chosen = Pool.load(pool_path())
    adopted = _checked(path, package, chosen, serve)
    upgrade(settings().database)
    ledger = open_ledger()
    # What belongs to it first: its file is the checkpoint's by its id, and nobody looks for it before that is there.
    id = registry.checkpoint_id(package.name, package.vector, adopted.meta)
    if adopted.evidence:
        keep_all(id, adopted.evidence | kept(id))
    registry.save_checkpoint(ledger, name=package.name, vector=package.vector, meta=adopted.meta)
    typer.echo(f"checkpoint {id} is a candidate, over {', '.join(adopted.meta['workers'])}: package {found}")
    for line in (*_said(adopted.evidence), *adopted.notes):
        typer.echo(line)
    for model in serve:
        registry.promote(ledger, model, {"kind": "router", "checkpoint": id}, f"adopted: package {found}")
        typer.echo(f"{model} is served by it")


@dataclass(frozen=True)
class Adopted:
    """A package that can be taken in. `meta`: as the checkpoint will have it; `notes`: what its owner should know."""

    meta: dict[str, Any]
    evidence: dict[str, Judged]
    notes: tuple[str, ...]


def _checked(path: Path, package: Package, pool: Pool, serve: Sequence[str]) -> Adopted:
    """The package in terms of this home. Raises BadFile, BadInput, RecordedWorker; what is dear comes last."""
    from models.errors import BadFile, BadInput, RecordedWorker
    from tasks.comparing.judged import parsed

    try:
        said = Meta.model_validate(package.meta)
        evidence = parsed(package.evidence)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFile(path, f"router.json: meta.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except BadInput as error:
        raise BadFile(path, f"evidence.json: {error}") from None
    if lacking := [name for name in said.workers if name not in pool.names]:
        names = ", ".join(repr(name) for name in lacking)
        raise BadInput(f"pool {pool.name!r} lacks {names} of the package; pool.json in it has their entries", "pool")
    if serve and (unasked := [name for name in said.workers if pool.worker(name).is_recorded]):
        raise RecordedWorker(f"{', '.join(unasked)}: known from recorded scores only, and cannot be asked")
    if "trinity" in serve and not said.roles:
        raise BadInput("this router chooses no roles: it can serve fugu, not trinity", "serve")
    own = {"backbone": _backbone(path, package, said), "pool": pool.name}
    kind, notes = _kind(said, package.meta.get("kind"), pool), _differing(package, pool)
    if kind != ADOPTED:
        notes.append(f"the next comparison on pool {pool.name} judges it, as the newest router of kind {kind}")
    return Adopted(package.meta | own | {"kind": kind}, evidence, tuple(notes))


def _kind(said: Meta, kind: object, pool: Pool) -> str:
    """The kind by which flows find it: its own only where its rows are the pool's workers, and its head is of that
    kind. Flows that find another one end with an error."""
    fits = tuple(said.workers) == pool.names and (said.head is not None) == (kind == "tasks")
    return str(kind) if fits and kind in LEARNED else ADOPTED


def _backbone(path: Path, package: Package, said: Meta) -> str:
    """The path of this home's backbone, with which the router has been loaded. It is the settings' own: a package names
    no file that is opened and no address that is asked."""
    from models.errors import BadFile, BadInput
    from models.fugu.head import HeadForm
    from models.ledger.registry import Checkpoint
    from tasks.setup.preset import load_preset
    from tasks.setup.router import backbone_path, load_backbone, load_router
    from tasks.setup.settings import settings

    here = settings()
    local = backbone_path(here.backbone, load_preset(here.preset).backbone)
    if Path(local).is_relative_to(here.home):
        local = str(Path(local).relative_to(here.home))
    if (found := load_backbone(local).digest) != said.backbone_digest:
        theirs = f"{said.backbone!r} (sha256 {said.backbone_digest[:12]}…)"
        raise BadFile(
            path,
            f"was learned on the backbone {theirs}, and {local} is another ({found[:12]}…): name it with --backbone",
        )
    meta = package.meta | {"backbone": local}
    try:
        form = TypeAdapter(HeadForm).validate_python(said.head or {})
        if min(form.tasks, form.anchors, form.damped or 0) < 0:
            raise BadInput("its head has a negative size")
        router = load_router(Checkpoint(path.name, package.name, package.vector, meta, datetime.now(UTC)))
        router.decide([{"role": "user", "content": "Hello"}])  # finite numbers may still give logits that are not
    except (BadInput, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise BadFile(path, f"its router cannot be used: {why}") from None
    return local


def _differing(package: Package, pool: Pool) -> list[str]:
    """A line for each worker that is another model here than where the router was learned."""
    entries = package.pool.get("workers")
    found = []
    for entry in entries if isinstance(entries, list) else ():
        name, model = (entry.get("name"), entry.get("model")) if isinstance(entry, dict) else (None, None)
        if name in pool.names and model != (here := pool.worker(str(name)).model):
            found.append(f"note: {name} is {here} here, and was {model!r:.200} where the router was learned")
    return found


def _said(evidence: Mapping[str, Judged]) -> list[str]:
    """What the gate saw, a line for each model. The words may be a stranger's."""
    if not evidence:
        return ["no comparison of it is known: nothing was put before the gate"]
    lines = []
    for model, judged in evidence.items():
        verdict = "passed" if judged.promoted else "did not pass"
        line = f"{model}: {verdict} the gate on pool {judged.pool}; {'; '.join(map(str, judged.bounds))}"
        lines.append("".join(each if each.isprintable() else "?" for each in line))
    return lines
