"""Kept responses on both databases: their chains, their owners, and their end."""

from __future__ import annotations

import pytest

from models.errors import NotFound
from models.ledger.kept.responses import Kept, chain, drop, get, newest, put, settle, status_of


def keep(ledger, id, previous=None, owner=None, status="completed"):
    kept = Kept(id, status, {"id": id, "output": []}, ({"role": "user"},), owner, previous, "talk")
    change(ledger, put(ledger, kept))


def change(ledger, change):
    with ledger.transaction() as connection:
        return change(connection, ledger.now(connection))


@pytest.mark.parametrize("owner", [None, "key-1"])
def test_a_chain_is_read_whole_and_by_its_owner_alone(ledger, owner):
    other = "key-2" if owner is None else None
    for id, previous in (("a", None), ("b", "a"), ("c", "b")):
        keep(ledger, id, previous, owner)
    keep(ledger, "d", "c", other)
    assert [kept.id for kept in chain(ledger, "c", owner)] == ["a", "b", "c"]
    assert newest(ledger, "talk", owner) == "c" and newest(ledger, "talk", "key-3") is None
    for wanted, whose in (("c", other), ("d", other), ("x", owner)):
        with pytest.raises(NotFound):
            chain(ledger, wanted, whose)
    change(ledger, drop("a"))
    with pytest.raises(NotFound, match="'a'"):
        chain(ledger, "c", owner)


def test_a_final_state_stays(ledger):
    keep(ledger, "a", status="queued")
    assert change(ledger, settle("a", "in_progress", {"id": "a"})) and status_of(ledger, "a") == "in_progress"
    assert change(ledger, settle("a", "cancelled", {"id": "a", "cancelled": True}))
    assert not change(ledger, settle("a", "completed", {"id": "a"}))
    keep(ledger, "a")  # as when an answer is given again
    assert get(ledger, "a", None).body == {"id": "a", "cancelled": True} and status_of(ledger, "b") is None
    with pytest.raises(NotFound):
        get(ledger, "a", "key-1")
