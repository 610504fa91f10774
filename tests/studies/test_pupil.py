"""Which subsets of workers are held out where pairs are kept apart."""

from __future__ import annotations

from pupil import never_together


def test_the_subsets_that_nobody_was_offered_hold_a_pair_kept_apart():
    apart = (frozenset({"ann", "bob"}),)
    workers = ("ann", "bob", "cem", "dan")
    assert never_together(workers, apart, 3) == [("ann", "bob", "cem"), ("ann", "bob", "dan")]
