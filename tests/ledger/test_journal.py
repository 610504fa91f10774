"""The journal writes in order: what somebody waits for at once, what nobody waits for together with others."""

from models.ledger import journal as journals
from models.ledger.journal import Journal
from models.ledger.requests import get_request, record


async def test_what_nobody_waits_for_shares_a_transaction_and_is_written_soon(ledger):
    journal, seen = Journal(ledger), []
    for number in range(9):
        journal.later(lambda connection, now, number=number: seen.append((number, connection, now)))
    await journal.put(lambda connection, now: seen.append((9, connection, now)), linger_s=journals.LINGER_S)
    assert [number for number, _, _ in seen] == list(range(10)) and journal.waiting == 0
    assert len({id(connection) for _, connection, _ in seen}) == 1
    times = [now for _, _, now in seen]
    assert times == sorted(set(times))  # what is listed by time keeps its order
    await journal.close()


async def test_what_somebody_waits_for_takes_what_came_before_it_along_at_once(ledger, monkeypatch):
    monkeypatch.setattr(journals, "LINGER_S", 3600.0)
    journal = Journal(ledger)
    journal.later(record({"id": "before"}))
    await journal.put(record({"id": "at once"}))
    assert [get_request(ledger, id)["id"] for id in ("before", "at once")] == ["before", "at once"]
    journal.later(record({"id": "after"}))
    await journal.close()  # which waits for no hour
    assert get_request(ledger, "after") == {"id": "after"}
