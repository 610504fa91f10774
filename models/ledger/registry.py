"""The registry of checkpoints and champions, with promotion and rollback. Promotions are only added, never changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from models.digest import json_digest
from models.errors import BadInput, NotFound
from models.ledger.store import Ledger
from models.ledger.tables import checkpoints, promotions

SHADOW = "shadow"
"""In place of a model's name: the challenger that decides beside `fugu`'s champion and serves nothing."""


@dataclass(frozen=True)
class Checkpoint:
    """A router's parameter vector (float32, flat). `meta`: how it was trained, as JSON values."""

    id: str
    name: str
    vector: np.ndarray
    meta: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Champion:
    """The target that serves `model`: a router's checkpoint or a worker. `version` counts from 1."""

    model: str
    target: dict[str, Any]
    reason: str
    since: datetime
    version: int

    @property
    def digest(self) -> str:
        """What its target is, whenever it serves: a checkpoint's id, or the sha256 (hex) of another target."""
        return str(self.target.get("checkpoint") or json_digest(self.target))


def save_checkpoint(ledger: Ledger, *, name: str, vector: np.ndarray, meta: dict[str, Any]) -> str:
    """Store a vector; return its id. Saving it again only makes it the newest."""
    digest, content = checkpoint_id(name, vector, meta), np.ascontiguousarray(vector, dtype="<f4").tobytes()
    row = {"id": digest, "name": name, "vector": content, "meta": meta}
    with ledger.transaction() as connection:
        now = {"created_at": ledger.now(connection)}
        insert = ledger.insert(checkpoints).values(row | now)
        connection.execute(insert.on_conflict_do_update(index_elements=[checkpoints.c.id], set_=now))
    return digest


def checkpoint_id(name: str, vector: np.ndarray, meta: dict[str, Any]) -> str:
    """The id that it has, or would have: the digest of name, vector and meta. Raises BadInput for no such vector."""
    flat = np.ascontiguousarray(vector, dtype="<f4")
    if flat.ndim != 1 or flat.size == 0 or not np.isfinite(flat).all():
        raise BadInput("a checkpoint's vector has to be flat, not empty and finite", field="vector")
    return hashlib.sha256(json.dumps([name, meta], sort_keys=True).encode() + b"\0" + flat.tobytes()).hexdigest()


def load_checkpoint(ledger: Ledger, id: str) -> Checkpoint:
    """The checkpoint of that id. Raises NotFound."""
    with ledger.reading() as connection:
        row = connection.execute(select(checkpoints).where(checkpoints.c.id == id)).one_or_none()
    if row is None:
        raise NotFound(f"no checkpoint {id!r}")
    vector = np.frombuffer(row.vector, dtype="<f4").astype(np.float32)
    return Checkpoint(row.id, row.name, vector, row.meta, row.created_at)


def find_checkpoint(ledger: Ledger, beginning: str) -> Checkpoint:
    """The checkpoint whose id begins so. Raises NotFound, also where several do."""
    statement = select(checkpoints.c.id).where(checkpoints.c.id.startswith(beginning, autoescape=True)).limit(2)
    with ledger.reading() as connection:
        ids = list(connection.execute(statement).scalars())
    if len(ids) != 1:
        raise NotFound(f"{'several checkpoints begin' if ids else 'no checkpoint begins'} with {beginning!r}")
    return load_checkpoint(ledger, ids[0])


def newest_checkpoint(ledger: Ledger, **meta: str) -> Checkpoint | None:
    """The newest checkpoint whose `meta` has all of these values, or `None`."""
    fits = [checkpoints.c.meta[key].as_string() == value for key, value in meta.items()]
    statement = select(checkpoints.c.id).where(*fits).order_by(checkpoints.c.created_at.desc()).limit(1)
    with ledger.reading() as connection:
        id = connection.execute(statement).scalar_one_or_none()
    return None if id is None else load_checkpoint(ledger, id)


def promote(ledger: Ledger, model: str, target: dict[str, Any], reason: str) -> None:
    """Make `target` serve `model`, in one transaction.

    `target`: `{"kind": "router", "checkpoint": id}` or `{"kind": "worker", "worker": name}`; of the shadow also
    `{"kind": "nobody"}`.
    Raises BadInput for another form of target, NotFound for a checkpoint that does not exist.
    """
    with ledger.transaction() as connection:
        _check(connection, target)
        ledger.serialise(connection, "promotions")
        version = _version(connection, model) + 1
        _add(ledger, connection, model, version, version, target, reason)


def champion(ledger: Ledger, model: str) -> Champion | None:
    """The present champion of `model`, or `None` before the first promotion."""
    newest = select(promotions).where(promotions.c.model == model).order_by(promotions.c.version.desc()).limit(1)
    with ledger.reading() as connection:
        row = connection.execute(newest).one_or_none()
    return None if row is None else _champion(row)


def rollback(ledger: Ledger, model: str) -> Champion:
    """Make the previous champion serve again, as a new row. Repeated calls go further back.

    Raises NotFound where there is no earlier champion.
    """
    with ledger.transaction() as connection:
        ledger.serialise(connection, "promotions")
        version = _version(connection, model)
        now = _row(connection, model, version)
        earlier = None if now is None else _row(connection, model, now.origin - 1)
        if earlier is None:
            raise NotFound(f"model {model!r} has no earlier champion to go back to")
        reason = f"rolled back to version {earlier.origin}"
        _add(ledger, connection, model, version + 1, earlier.origin, earlier.target, reason)
        return _champion(_row(connection, model, version + 1))


def history(ledger: Ledger, model: str) -> list[Champion]:
    """All champions of `model`, the oldest first."""
    statement = select(promotions).where(promotions.c.model == model).order_by(promotions.c.version)
    with ledger.reading() as connection:
        return [_champion(row) for row in connection.execute(statement)]


def promoted(ledger: Ledger, model: str, digest: str) -> Champion:
    """The newest champion of `model` whose digest begins with `digest`, whether it serves or was replaced.

    Raises NotFound, also where the champions of several targets begin so.
    """
    found = [each for each in history(ledger, model) if each.digest.startswith(digest)]
    if len({each.digest for each in found}) != 1:
        raise NotFound(f"{'several champions' if found else 'no champion'} of {model!r} begin with {digest!r}")
    return found[-1]


def _check(connection: Connection, target: dict[str, Any]) -> None:
    kind, names = target.get("kind"), set(target) - {"kind"}
    if (kind, names) in (("worker", {"worker"}), ("nobody", set())):
        return
    if kind != "router" or names != {"checkpoint"}:
        raise BadInput("a champion has to be a router's checkpoint or a worker", field="target")
    known = select(checkpoints.c.id).where(checkpoints.c.id == target["checkpoint"])
    if connection.execute(known).one_or_none() is None:
        raise NotFound(f"no checkpoint {target['checkpoint']!r}")


def _version(connection: Connection, model: str) -> int:
    newest = select(promotions.c.version).where(promotions.c.model == model)
    return connection.execute(newest.order_by(promotions.c.version.desc()).limit(1)).scalar_one_or_none() or 0


def _row(connection: Connection, model: str, version: int) -> Any | None:
    statement = select(promotions).where(promotions.c.model == model, promotions.c.version == version)
    return connection.execute(statement).one_or_none()


def _add(
    ledger: Ledger,
    connection: Connection,
    model: str,
    version: int,
    origin: int,
    target: dict[str, Any],
    reason: str,
) -> None:
    row = {"model": model, "version": version, "origin": origin, "target": target, "reason": reason}
    connection.execute(promotions.insert().values(**row, since=ledger.now(connection)))


def _champion(row: Any) -> Champion:
    return Champion(row.model, row.target, row.reason, row.since, row.version)
