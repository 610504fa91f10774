"""Keys and leases of rates, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models.errors import BadInput, NotFound
from models.ledger.access.keys import id_of, list_keys, make_key, note_use, revoke_key, version
from models.ledger.access.leases import lease
from models.ledger.access.policy import Policy


def test_a_key_is_random_shown_once_and_stored_as_a_hash(ledger):
    assert version(ledger) == (0, 0)
    policy = Policy(workers=("a",), day_usd=1.5, in_flight=3)
    made, key = make_key(ledger, "ci", policy, timedelta(days=1))
    assert key.startswith(made.prefix + "-") and len(key) == len("fugu-") + 10 + 1 + 43 and id_of(key) == made.id
    assert key not in repr(made) and made.opens_with(key) and not made.opens_with(key + "x")
    assert list_keys(ledger) == [made] and made.expires_at - made.created_at == timedelta(days=1)
    assert made.is_live(made.created_at) and not made.is_live(made.expires_at)
    assert id_of("sk-123") is id_of("fugu-short-x") is id_of("") is None
    assert make_key(ledger, "other", Policy())[1] != key


def test_names_are_of_one_live_key_and_a_revoked_one_stays(ledger):
    first, _ = make_key(ledger, "ci", Policy())
    with pytest.raises(BadInput, match="there is a key named 'ci'"):
        make_key(ledger, "ci", Policy())
    before = version(ledger)
    gone = revoke_key(ledger, "ci")
    assert gone.id == first.id and gone.revoked_at is not None and version(ledger) != before
    assert revoke_key(ledger, first.prefix).revoked_at == gone.revoked_at
    with pytest.raises(NotFound, match="'ci'"):
        revoke_key(ledger, "ci")
    second, _ = make_key(ledger, "ci", Policy())
    with ledger.transaction() as connection:
        note_use({second.id: ledger.now(connection)})(connection, ledger.now(connection))
    assert [(key.id, key.used_at is None) for key in list_keys(ledger)] == [(first.id, True), (second.id, False)]


def test_a_share_of_a_rate_is_leased_for_its_minute(ledger):
    with ledger.transaction() as connection:
        now = ledger.now(connection).replace(second=10, microsecond=0)

        def taken(owner, more, kind="requests", **also):
            share = lease(ledger, "k", kind, owner, more, 100, **also)(connection, now)
            return share.mine, share.all, share.left_s

        assert taken("a", 60) == (60, 60, 50.0)
        assert taken("b", 60) == (40, 100, 50.0)
        assert taken("a", 5) == (60, 100, 50.0)
        assert taken("a", 5, used=5) == (65, 105, 50.0)  # what was used counts, also beyond the limit
        assert taken("a", 7, "in_flight") == (7, 7, 30.0) and taken("a", -7, "in_flight") == (0, 0, 30.0)
        now += timedelta(minutes=1)
        assert taken("a", 5) == (5, 5, 50.0)
