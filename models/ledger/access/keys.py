"""API keys: made, listed, revoked. The ledger has a key's sha256, never the key.

A key is `fugu-<id>-<secret>`; the secret has 256 random bits, so that a plain hash of it cannot be reversed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, func, select, update
from sqlalchemy.engine import Connection

from models.errors import BadInput, NotFound
from models.ledger.access.policy import Policy
from models.ledger.journal import Change
from models.ledger.store import Ledger
from models.ledger.tables.access import api_keys

BEGINS = "fugu-"
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is read as another one
_ID = 10
MAX_NAME = 100


@dataclass(frozen=True)
class ApiKey:
    """A key as the ledger has it. `id`: what the key begins with; no secret. `used_at`: up to a minute late."""

    id: str
    name: str
    digest: str
    policy: Policy
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None

    @property
    def prefix(self) -> str:
        """What the key begins with."""
        return f"{BEGINS}{self.id}"

    def opens_with(self, key: str) -> bool:
        """Whether this is the key; takes as long for every wrong one."""
        return hmac.compare_digest(self.digest, digest_of(key))

    def is_live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest_of(key: str) -> str:
    """sha256 (hex) of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(key: str) -> str | None:
    """The id that a key begins with; `None` for a text that is no key of this kind."""
    begins, _, rest = key.partition("-")
    id, dash, _ = rest.partition("-")
    return id if f"{begins}-" == BEGINS and len(id) == _ID and dash else None


def make_key(ledger: Ledger, name: str, policy: Policy, lives: timedelta | None = None) -> tuple[ApiKey, str]:
    """A new key: its row, and the key itself, which nothing can show again.

    Raises BadInput for a name that a live key has, or that is no name.
    """
    if not (1 <= len(name) <= MAX_NAME and name.isprintable() and name == name.strip()):
        raise BadInput(f"a key's name is 1 to {MAX_NAME} printable characters without outer spaces", "name")
    id = "".join(secrets.choice(_LETTERS) for _ in range(_ID))
    key = f"{BEGINS}{id}-{secrets.token_urlsafe(32)}"
    with ledger.transaction() as connection:
        ledger.serialise(connection, "api_keys")
        now = ledger.now(connection)
        if any(each.name == name and each.is_live(now) for each in _read(connection)):
            raise BadInput(f"there is a key named {name!r}: revoke it first, or give another name", "name")
        until = None if lives is None else now + lives
        made = ApiKey(id, name, digest_of(key), policy, now, until)
        row = {**vars(made), "policy": policy.model_dump(mode="json", exclude_defaults=True)}
        connection.execute(api_keys.insert().values(row))
    return made, key


def list_keys(ledger: Ledger) -> list[ApiKey]:
    """All keys, also those that are revoked or have expired, the oldest first."""
    with ledger.reading() as connection:
        return _read(connection)


def revoke_key(ledger: Ledger, which: str) -> ApiKey:
    """End a key for ever; `which`: its id, its prefix, or the name of a live one. Raises NotFound."""
    with ledger.transaction() as connection:
        ledger.serialise(connection, "api_keys")
        now = ledger.now(connection)
        found = [key for key in _read(connection) if which in (key.id, key.prefix)]
        found = found or [key for key in _read(connection) if key.name == which and key.is_live(now)]
        if not found:
            raise NotFound(f"no live key has the id or the name {which!r}")
        id = found[0].id
        unset = update(api_keys).where(api_keys.c.id == id, api_keys.c.revoked_at.is_(None))
        connection.execute(unset.values(revoked_at=now))
        return _key(connection.execute(select(api_keys).where(api_keys.c.id == id)).one())


def version(ledger: Ledger) -> tuple[int, int]:
    """Changes with every key that is made and with every one that is revoked; (0, 0) while there is none."""
    counted = select(func.count(), func.count(api_keys.c.revoked_at)).select_from(api_keys)
    with ledger.reading() as connection:
        made, revoked = connection.execute(counted).one()
    return made, revoked


def note_use(used: Mapping[str, datetime]) -> Change[None]:
    """Record the last uses of keys, by id."""

    def change(connection: Connection, now: datetime) -> None:
        for id, at in sorted(used.items()):
            connection.execute(update(api_keys).where(api_keys.c.id == id).values(used_at=at))

    return change


def _read(connection: Connection) -> list[ApiKey]:
    rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))
    return [_key(row) for row in rows]


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    fields = dict(row._mapping)
    return ApiKey(**{**fields, "policy": Policy.model_validate(fields["policy"])})
