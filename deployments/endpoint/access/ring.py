"""The keys of the home, as a process knows them: read from the ledger at most once a second, and only if they changed.

A key that is made opens at once, in every process; one that is revoked is refused within `FRESH_S` and the time of a
read. Where the ledger is away, what was read last holds for `STALE_S`; then nobody who needs a key is let in.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import time
from binascii import Error as NotBase64
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from deployments.endpoint.answer.question import ANYONE, Caller
from deployments.endpoint.wire.problems import Problem
from models.errors import LedgerAway
from models.ledger.access.keys import ApiKey, digest_of, id_of, list_keys, note_use, version
from models.ledger.access.policy import SCOPES, Policy
from models.ledger.journal import Journal

FRESH_S, STALE_S = 1.0, 10.0

UNKNOWN_S = 0.2
"""Between two reads for keys that are not known: guesses wait, and cost five reads a second together."""

NOTED_S = 30.0
"""How often the last uses of keys are written, all together."""

OWNER = Caller("home", "the home's own", Policy(scopes=SCOPES))
"""Who has the secret of the home, which the `fugu` commands read: its owner."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="fugu", Basic realm="fugu"'}


class Keyring:
    """Belongs to one event loop. `required`: whether a key is needed while the home has none. `secret`: the home's.

    `journal`: writes the last uses.
    """

    def __init__(self, journal: Journal, required: bool = False, secret: str | None = None) -> None:
        self._journal, self._required = journal, required
        self._secret = None if secret is None else digest_of(secret)
        self._keys: dict[str, ApiKey] = {}
        self._version: tuple[int, int] | None = None
        self._read_at = self._tried_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._used: dict[str, datetime] = {}
        self._noting: asyncio.TimerHandle | None = None

    async def caller(self, headers: Mapping[str, str], *, reads: bool) -> Caller:
        """Who sends these headers. `reads`: the request changes nothing, so that a browser may ask for the key as a
        password.

        Raises Problem 401, and LedgerAway.
        """
        await self._look()
        given = _given(headers, reads)
        if not self._keys and not self._required:
            return ANYONE
        for key in given:
            if (found := await self._known(key)) is not None:
                return found
        message = "this API key is not valid" if given else "a key is needed: Authorization: Bearer …, or x-api-key"
        raise Problem(401, message, "authentication_error", "invalid_api_key", headers=dict(_CHALLENGE))

    async def close(self) -> None:
        """Hand the last uses that are not written yet to the journal."""
        if self._noting is not None:
            self._noting.cancel()
        self._note()

    async def _known(self, key: str) -> Caller | None:
        if self._secret is not None and hmac.compare_digest(self._secret, digest_of(key)):
            return OWNER
        id = id_of(key)
        if id is not None and id not in self._keys:  # it may have been made a moment ago
            tried = self._tried_at
            await asyncio.sleep(tried + UNKNOWN_S - time.monotonic())
            if self._tried_at == tried:  # else another request has seen to it
                await self._read()
        found, now = self._keys.get(id or ""), datetime.now(UTC)
        if found is None or not found.opens_with(key) or not found.is_live(now):
            return None
        self._used[found.id] = now
        if self._noting is None:
            self._noting = asyncio.get_running_loop().call_later(NOTED_S, self._note)
        return Caller(found.id, found.name, found.policy)

    async def _look(self) -> None:
        """See that what is known is not too old: a request waits for a read only where it is the first in a while."""
        age = time.monotonic() - self._read_at
        if age <= FRESH_S:
            return
        if age > 2 * FRESH_S:
            await self._read()
        elif self._reading is None:
            self._start()
        known = self._version is not None and (not self._keys or time.monotonic() - self._read_at <= STALE_S)
        if not known:
            raise LedgerAway("the keys cannot be read")

    def _start(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._refresh())
        return self._reading

    async def _read(self) -> None:
        await asyncio.shield(self._start())

    async def _refresh(self) -> None:
        try:
            self._tried_at = begun = time.monotonic()
            with suppress(LedgerAway):
                found = await asyncio.to_thread(self._changed)
                if found is not None:
                    self._version, keys = found
                    self._keys = {key.id: key for key in keys}
                self._read_at = begun
        finally:
            self._reading = None

    def _changed(self) -> tuple[tuple[int, int], list[ApiKey]] | None:
        """The keys, with their version, if that is another one than before."""
        now = version(self._journal.ledger)
        return None if now == self._version else (now, list_keys(self._journal.ledger) if now[0] else [])

    def _note(self) -> None:
        self._noting = None
        used, self._used = self._used, {}
        if used:
            self._journal.put(note_use(used), NOTED_S)


def _given(headers: Mapping[str, str], reads: bool) -> list[str]:
    """The keys that a request brings: as a bearer, as `x-api-key`, and from a browser as a password."""
    kind, _, value = headers.get("Authorization", "").partition(" ")
    found = [value.strip()] if kind.lower() == "bearer" else []
    if kind.lower() == "basic" and reads:
        with suppress(NotBase64, UnicodeDecodeError):
            found.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
    return [key for key in (*found, headers.get("x-api-key", "").strip()) if key]
