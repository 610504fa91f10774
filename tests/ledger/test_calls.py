import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.errors import BadInput, BudgetExceeded, NotFound
from models.ledger.accounts import maybe_paid, spend
from models.ledger.budgets import open_budget, remaining
from models.ledger.calls import CallSpec, Settlement, claim, fail, settle
from models.ledger.tries import free, renew, send, withdraw

SOON = timedelta(hours=1)


def spec(identity="i", worst_usd=0.0, scope="s"):
    return CallSpec(identity, scope, "w", "1", {"messages": []}, worst_usd)


def take(ledger, owner="a", identity="i", **options):
    return claim(ledger, [spec(identity, worst_usd=options.pop("worst_usd", 0.0))], owner, **options)[0]


def sent(ledger, owner="a", identity="i", **options):
    found = take(ledger, owner, identity, **options)
    assert send(ledger, [(identity, found.attempt)], owner, options.get("lease_s", 120.0)) == [True]
    return found


def settlement(found, owner="a", text="yes", cost_usd=0.0):
    return Settlement(found.call_id, found.attempt, owner, {"text": text}, cost_usd, 0.1)


def test_a_settled_call_is_replayed_to_everybody(ledger):
    found = take(ledger)
    assert (found.state, found.attempt) == ("mine", 1)
    assert settle(ledger, [settlement(found)]) == [True]
    for owner in ("a", "b"):
        again = take(ledger, owner)
        assert (again.state, again.reply) == ("settled", {"text": "yes"})


def test_a_live_lease_is_held_also_for_its_owner(ledger):
    take(ledger)
    for owner in ("a", "b"):
        held = take(ledger, owner)
        assert held.state == "held" and held.lease_until > datetime.now(UTC)


def test_an_identity_named_twice_in_a_batch_is_one_call(ledger):
    first, other, second = claim(ledger, [spec("i"), spec("j"), spec("i")], "a")
    assert first == second and first.identity == "i" and other.identity == "j"
    assert spend(ledger)["tries"] == 2


def test_an_expired_call_is_taken_over_and_its_late_owner_fenced_off(ledger):
    late = sent(ledger, "late", lease_s=0)
    found = take(ledger, "next")
    assert (found.state, found.attempt) == ("mine", 2)
    assert [row["attempt"] for row in maybe_paid(ledger)] == [1]
    assert settle(ledger, [settlement(late, "late", "late", 0.25)]) == [False]
    assert settle(ledger, [settlement(found, "next", "kept", 0.5)]) == [True]
    assert settle(ledger, [settlement(late, "late", "late", 0.25)]) == [False]
    assert take(ledger).reply == {"text": "kept"}
    assert spend(ledger) == {"calls": 1, "settled": 1, "tries": 2, "maybe_paid": 0, "usd": 0.75, "maybe_usd": 0.0}


def test_a_late_owner_whom_nobody_replaced_may_still_settle_and_the_same_again_changes_nothing(ledger):
    open_budget(ledger, "b", 1.0)
    found = sent(ledger, lease_s=0, worst_usd=0.5, budget="b")
    for _ in range(2):
        assert settle(ledger, [settlement(found, cost_usd=0.25)]) == [True]
    assert (remaining(ledger, "b")["spent"], spend(ledger)["usd"]) == (0.25, 0.25)


def test_nobody_else_settles_or_fails_a_claim(ledger):
    found = take(ledger)
    assert settle(ledger, [settlement(found, "b")]) == [False]
    assert fail(ledger, "i", 1, "b", "no", transient=False) is False
    assert fail(ledger, "i", 2, "a", "no", transient=False) is False
    assert take(ledger, "b").state == "held"


def test_without_resend_a_call_that_died_in_flight_is_not_sent_again(ledger):
    sent(ledger, lease_s=0)
    assert take(ledger, resend=False).state == "maybe_paid"
    assert take(ledger, resend=False).state == "maybe_paid"
    assert spend(ledger)["maybe_paid"] == 1
    assert take(ledger).attempt == 2


def test_an_orphan_is_listed_as_maybe_paid_before_anybody_takes_it_over(ledger):
    sent(ledger, lease_s=0, worst_usd=0.5)
    sent(ledger, identity="alive", worst_usd=0.5)
    take(ledger, identity="waiting", lease_s=0, worst_usd=0.5)
    (row,) = maybe_paid(ledger, "s")
    assert (row["call_id"], row["worst_usd"]) == ("i", 0.5)
    assert maybe_paid(ledger, "other") == []
    assert spend(ledger)["maybe_usd"] == 0.5


def test_joiners_share_the_next_try_and_its_time(ledger):
    found = take(ledger)
    when = datetime.now(UTC) + SOON
    assert fail(ledger, "i", found.attempt, "a", "429", transient=True, retry_at=when)
    for owner in ("a", "b"):
        held = take(ledger, owner)
        assert (held.state, held.not_before) == ("held", when)


def test_after_its_time_the_next_try_is_one_row_for_one_joiner(ledger):
    found = take(ledger)
    fail(ledger, "i", found.attempt, "a", "429", transient=True, retry_at=datetime.now(UTC))
    assert [take(ledger, owner).state for owner in ("a", "b")] == ["mine", "held"]
    assert spend(ledger)["tries"] == 2


def test_renewal_keeps_a_call_and_cannot_bring_back_a_lost_one(ledger):
    take(ledger, lease_s=0)
    take(ledger, identity="j", lease_s=0)
    take(ledger, "b", identity="j")
    assert renew(ledger, ["i", "j"], "a", 60) == 1
    assert [take(ledger, "c", identity).state for identity in ("i", "j")] == ["held", "held"]


def test_a_batch_that_does_not_fit_the_budget_writes_nothing(ledger):
    open_budget(ledger, "b", 1.0)
    with pytest.raises(BudgetExceeded, match="'b'"):
        claim(ledger, [spec(f"i{n}", 0.3) for n in range(4)], "a", budget="b")
    assert spend(ledger)["calls"] == 0
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.0, "spent": 0.0, "left": 1.0}


def test_a_budget_holds_the_worst_case_until_the_price_is_known(ledger):
    open_budget(ledger, "b", 1.0)
    found = claim(ledger, [spec(f"i{n}", 0.3) for n in range(3)], "a", budget="b")
    assert remaining(ledger, "b")["reserved"] == 0.9
    settle(ledger, [settlement(found[0], cost_usd=0.1)])
    fail(ledger, "i1", 1, "a", "refused", transient=False)
    fail(ledger, "i2", 1, "a", "cut", transient=True, maybe_paid=True)
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.0, "spent": 0.4, "left": 0.6}
    assert settle(ledger, [settlement(found[2], cost_usd=0.2)]) == [True]
    assert remaining(ledger, "b")["spent"] == 0.3


def test_a_settled_call_and_a_held_one_reserve_nothing(ledger):
    open_budget(ledger, "b", 1.0)
    settle(ledger, [settlement(take(ledger, worst_usd=0.6, budget="b"), cost_usd=0.6)])
    assert take(ledger, worst_usd=0.6, budget="b").state == "settled"
    take(ledger, identity="j", worst_usd=0.4, budget="b")
    assert take(ledger, identity="j", worst_usd=0.4, budget="b").state == "held"
    assert remaining(ledger, "b")["left"] == 0.0


def test_raising_a_limit_keeps_what_was_spent(ledger):
    open_budget(ledger, "b", 0.1)
    settle(ledger, [settlement(take(ledger, worst_usd=0.1, budget="b"), cost_usd=0.1)])
    open_budget(ledger, "b", 0.5)
    assert remaining(ledger, "b") == {"limit": 0.5, "reserved": 0.0, "spent": 0.1, "left": 0.4}


def test_an_unknown_budget_is_an_error(ledger):
    with pytest.raises(NotFound):
        take(ledger, worst_usd=0.1, budget="none")
    with pytest.raises(NotFound):
        remaining(ledger, "none")


def test_a_claim_that_was_never_sent_is_free_when_it_expires_also_without_resend_and_so_is_its_money(ledger):
    open_budget(ledger, "b", 1.0)
    late = take(ledger, "late", worst_usd=0.8, budget="b", lease_s=0)
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.0, "spent": 0.0, "left": 1.0}
    found = take(ledger, "next", worst_usd=0.8, budget="b", resend=False)
    assert (found.state, found.attempt) == ("mine", 2)
    assert send(ledger, [("i", late.attempt)], "late") == [False]
    assert maybe_paid(ledger) == [] and remaining(ledger, "b")["reserved"] == 0.8


def test_what_the_dead_reserved_and_never_sent_is_freed_for_other_calls(ledger):
    open_budget(ledger, "b", 1.0)
    take(ledger, "dead", worst_usd=0.8, budget="b", lease_s=0)
    sent(ledger, "dead", "j", worst_usd=0.1, budget="b", lease_s=0)
    take(ledger, "alive", "k", worst_usd=0.1, budget="b")
    assert free(ledger, "b") and not free(ledger, "b")
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.2, "spent": 0.0, "left": 0.8}
    assert take(ledger, identity="l", worst_usd=0.8, budget="b").state == "mine"


def test_a_call_goes_out_once_and_for_its_owner_alone(ledger):
    found = take(ledger)
    assert send(ledger, [("i", found.attempt)], "b") == [False]
    assert send(ledger, [("i", 2), ("none", 1), ("i", 1)], "a") == [False, False, True]
    assert send(ledger, [("i", 1)], "a") == [False]
    assert settle(ledger, [settlement(found)]) == [True]


def test_a_call_that_is_sent_as_soon_as_it_is_claimed_is_marked_so_at_once_and_for_one_of_several(ledger):
    specs = [replace(spec("i", 0.25), sends=sends) for sends in (True, True)] + [spec("j", 0.25)]
    found = claim(ledger, specs, "a", lease_s=0)
    assert [each.state for each in found] == ["mine"] * 3 and [each.sent for each in found] == [False, True, False]
    assert send(ledger, [("i", 1)], "a") == [False]  # whoever is not told that it is sent may not send it
    assert [row["call_id"] for row in maybe_paid(ledger)] == ["i"]
    again = claim(ledger, [replace(spec("i", 0.25), sends=True)], "b")
    assert (again[0].attempt, again[0].sent, len(maybe_paid(ledger))) == (2, True, 1)
    assert settle(ledger, [settlement(again[0], "b")]) == [True]


def test_claims_that_are_given_back_are_open_to_all_and_cost_nothing(ledger):
    open_budget(ledger, "b", 1.0)
    for identity in ("i", "j"):
        take(ledger, identity=identity, worst_usd=0.5, budget="b")
    send(ledger, [("j", 1)], "a")
    withdraw(ledger, ["i", "j", "none"], "b")
    assert remaining(ledger, "b")["reserved"] == 1.0
    withdraw(ledger, ["i", "j", "none"], "a")
    assert remaining(ledger, "b")["left"] == 1.0 and maybe_paid(ledger) == []
    assert {take(ledger, "b", identity).attempt for identity in ("i", "j")} == {2}


@pytest.mark.parametrize(
    ("named", "booked"), [(-0.25, 0.0), (890.0, 890.0), (1e30, 1e6), (math.inf, 0.1), (math.nan, 0.1), (-math.inf, 0.1)]
)
def test_no_price_makes_a_budget_grow_or_pass_its_limit(ledger, named, booked):
    open_budget(ledger, "b", 0.3)
    one, two = claim(ledger, [spec("i", 0.1), spec("j", 0.1)], "a", budget="b")
    settle(ledger, [settlement(one, cost_usd=named)])
    money = remaining(ledger, "b")
    assert spend(ledger)["usd"] == booked and 0.0 <= money["left"] <= 0.2
    assert (money["spent"], money["reserved"]) == (min(booked, 0.2), 0.1)
    settle(ledger, [settlement(two, cost_usd=0.05)])
    money = remaining(ledger, "b")
    assert money["reserved"] == 0.0 and money["spent"] == round(min(booked, 0.2) + 0.05, 9) <= 0.3


def test_a_price_that_comes_after_the_doubt_stays_within_the_limit_too(ledger):
    open_budget(ledger, "b", 0.3)
    found = sent(ledger, worst_usd=0.1, budget="b")
    fail(ledger, "i", 1, "a", "cut", transient=True, maybe_paid=True)
    settle(ledger, [settlement(found, cost_usd=5.0)])
    assert remaining(ledger, "b") == {"limit": 0.3, "reserved": 0.0, "spent": 0.3, "left": 0.0}


@pytest.mark.parametrize("limit", [-0.01, math.inf, math.nan, 1e7])
def test_a_limit_that_is_no_amount_of_money_is_refused(ledger, limit):
    with pytest.raises(BadInput):
        open_budget(ledger, "b", limit)


def test_whatever_a_client_hands_over_can_be_settled_and_read_again(ledger):
    found = take(ledger)
    reply = {
        "text": "a\0b\ud83d \ud83d\ude00",
        "usage": {"n": 10**5000, "m": -(10**30), "x": math.nan},
        "t": [None, True],
    }
    odd = Settlement("i", found.attempt, "a", reply, 0.0, math.nan)
    assert settle(ledger, [odd]) == [True]
    usage = {"n": 2**63 - 1, "m": 1 - 2**63, "x": None}
    assert take(ledger).reply == {"text": "a\ufffdb\ufffd \U0001f600", "usage": usage, "t": [None, True]}


def test_whatever_an_error_says_can_be_kept(ledger):
    take(ledger)
    assert fail(ledger, "i", 1, "a", "NUL \0, half \udc00", transient=True, maybe_paid=True)
    assert maybe_paid(ledger)[0]["error"] == "NUL \ufffd, half \ufffd"


def test_sums_of_many_small_prices_are_exact(ledger):
    open_budget(ledger, "b", 1.0)
    found = claim(ledger, [spec(f"i{n}", 0.001) for n in range(1000)], "a", budget="b")
    assert remaining(ledger, "b")["left"] == 0.0
    settle(ledger, [settlement(one, cost_usd=0.001) for one in found])
    assert remaining(ledger, "b") == {"limit": 1.0, "reserved": 0.0, "spent": 1.0, "left": 0.0}
    assert spend(ledger)["usd"] == 1.0
