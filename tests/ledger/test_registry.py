import threading

import numpy as np
import pytest

from models.errors import BadInput, NotFound
from models.ledger.registry import (
    champion,
    history,
    load_checkpoint,
    newest_checkpoint,
    promote,
    rollback,
    save_checkpoint,
)


def worker(name):
    return {"kind": "worker", "worker": name}


def test_a_checkpoint_comes_back_as_it_was_saved(ledger):
    vector = np.linspace(-1, 1, 7, dtype=np.float32)
    meta = {"layout": "late", "workers": ["a", "b"], "parents": []}
    name = save_checkpoint(ledger, name="warm", vector=vector, meta=meta)
    found = load_checkpoint(ledger, name)
    assert found.id == name == save_checkpoint(ledger, name="warm", vector=vector, meta=meta)
    assert (found.name, found.meta, found.vector.dtype) == ("warm", meta, np.float32)
    np.testing.assert_array_equal(found.vector, vector)
    assert save_checkpoint(ledger, name="warm", vector=vector, meta={}) != name


@pytest.mark.parametrize("vector", [np.ones((2, 2)), np.array([]), np.array([1.0, np.nan])])
def test_a_vector_that_is_none_is_refused(ledger, vector):
    with pytest.raises(BadInput):
        save_checkpoint(ledger, name="warm", vector=vector, meta={})


def test_an_unknown_checkpoint_is_neither_loaded_nor_promoted(ledger):
    with pytest.raises(NotFound):
        load_checkpoint(ledger, "none")
    with pytest.raises(NotFound):
        promote(ledger, "fugu", {"kind": "router", "checkpoint": "none"}, "why")
    assert champion(ledger, "fugu") is None and history(ledger, "fugu") == []


@pytest.mark.parametrize("target", [{}, {"kind": "worker"}, {"kind": "router", "worker": "a"}])
def test_a_target_of_another_shape_is_refused(ledger, target):
    with pytest.raises(BadInput):
        promote(ledger, "fugu", target, "why")


def test_each_model_has_its_own_champion_and_history(ledger):
    checkpoint = save_checkpoint(ledger, name="warm", vector=np.ones(3), meta={})
    promote(ledger, "fugu", worker("a"), "best single")
    promote(ledger, "trinity", worker("b"), "best single")
    promote(ledger, "fugu", {"kind": "router", "checkpoint": checkpoint}, "better by 0.1")
    now = champion(ledger, "fugu")
    assert (now.version, now.target["checkpoint"], now.reason) == (2, checkpoint, "better by 0.1")
    assert [row.version for row in history(ledger, "fugu")] == [1, 2]
    assert champion(ledger, "trinity").target == worker("b")


def test_rollback_goes_back_step_by_step_and_keeps_the_history(ledger):
    for name in "abc":
        promote(ledger, "fugu", worker(name), "why")
    assert rollback(ledger, "fugu").target == worker("b")
    assert rollback(ledger, "fugu").target == worker("a")
    with pytest.raises(NotFound):
        rollback(ledger, "fugu")
    promote(ledger, "fugu", worker("d"), "why")
    assert rollback(ledger, "fugu").target == worker("a")
    assert [row.target["worker"] for row in history(ledger, "fugu")] == list("abcbada")


def test_concurrent_promotions_are_all_kept(ledger):
    threads = [threading.Thread(target=promote, args=(ledger, "fugu", worker(n), "why")) for n in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.version for row in history(ledger, "fugu")] == [1, 2, 3, 4]


def test_what_is_saved_again_is_the_newest_again(ledger):
    """A start that goes back to an earlier backbone makes the very same checkpoints, and has to find them."""
    vector, kinds = np.ones(3, np.float32), [{"kind": "evolved", "backbone": name} for name in ("house", "other")]
    ids = [save_checkpoint(ledger, name="c", vector=vector, meta=meta) for meta in kinds]
    assert newest_checkpoint(ledger, kind="evolved").id == ids[1]
    save_checkpoint(ledger, name="c", vector=vector, meta=kinds[0])
    assert newest_checkpoint(ledger, kind="evolved").id == ids[0]
