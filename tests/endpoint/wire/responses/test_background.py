"""Responses in the background outlive their request, are polled, streamed, cancelled, and end with their process."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest
from sqlalchemy import select, update

from models.ledger.kept.responses import Kept, put, settle
from models.ledger.requests import get_request
from models.ledger.retention import prune
from models.ledger.tables.responses import responses


@pytest.fixture
def serve(house, upstream):
    return lambda worker="silent", **more: house(fugu={"kind": "worker", "worker": worker}, **more)


def begun(here, **more):
    return here.client.responses.create(model="fugu", input="hi", background=True, **more)


def until(here, id, *statuses):
    """The response once it has one of these statuses: its stream ends at its end."""
    with here.client.responses.retrieve(id, stream=True) as stream:
        last = list(stream)[-1].response
    assert last.status in statuses, last
    return last


def test_it_is_queued_then_answered_and_kept(serve, upstream, ledger):
    with serve() as here:
        response = begun(here, metadata={"a": "b"})
        assert response.status in ("queued", "in_progress") and response.output == []
        assert upstream.arrived.wait(10)
        assert here.client.responses.retrieve(response.id).status == "in_progress"
        with pytest.raises(openai.BadRequestError, match="no answer yet"):
            here.client.responses.create(model="fugu", input="x", previous_response_id=response.id)
        upstream.released.set()
        done = until(here, response.id, "completed")
        assert done.output_text == "one two three" and done.metadata == {"a": "b"} and done.usage.total_tokens == 8
        assert here.client.responses.retrieve(response.id).output_text == done.output_text
    row = get_request(ledger, response.id)
    assert row["status"] == 200 and row["worker"] == "silent" and row["completion_tokens"] == 3


def test_its_stream_can_be_left_and_taken_up_again(serve, upstream):
    with serve("stall") as here:
        seen = []
        with begun(here, stream=True) as stream:
            for event in stream:
                seen.append(event)
                if event.type == "response.output_text.delta":
                    break  # and the connection is closed
        id, upstream_left = seen[0].response.id, upstream.gone.is_set()
        upstream.released.set()
        with here.client.responses.retrieve(id, stream=True, starting_after=seen[-1].sequence_number) as stream:
            rest = list(stream)
    assert not upstream_left
    assert [event.type.removeprefix("response.") for event in seen[:3]] == ["created", "queued", "in_progress"]
    numbers = [event.sequence_number for event in (*seen, *rest)]
    assert numbers == list(range(len(numbers))) or rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "one two three"


def test_it_is_cancelled_here_and_from_another_process(serve, upstream, ledger):
    with serve() as here:
        response = begun(here)
        assert upstream.arrived.wait(10)
        assert here.client.responses.cancel(response.id).status == "cancelled"
        assert upstream.gone.wait(10)
        assert here.client.responses.cancel(response.id).status == "cancelled"
        upstream.forget()
        other = begun(here)
        assert upstream.arrived.wait(10)
        with ledger.transaction() as connection:  # as another process does
            settle(other.id, "cancelled", {**other.to_dict(), "status": "cancelled"})(
                connection, ledger.now(connection)
            )
        assert upstream.gone.wait(10)
        assert until(here, other.id, "cancelled").output == []


def test_a_failure_is_kept(serve, upstream):
    with serve("e500") as here:
        failed = until(here, begun(here, extra_body={"fugu": {"failover": False}}).id, "failed")
        assert failed.error.code == "server_error"
        assert here.client.responses.retrieve(failed.id).error.message == failed.error.message


def test_one_that_was_under_way_when_its_process_ended_has_failed(serve, upstream, ledger):
    with serve() as here:
        response = begun(here)
        assert upstream.arrived.wait(10)
    with serve() as here:
        kept = here.client.responses.retrieve(response.id)
        assert kept.status == "failed" and "stopped" in kept.error.message
        with ledger.transaction() as connection:  # as of a process that was killed
            dead = {"status": "in_progress", "process": "another-host 1 1"}
            connection.execute(update(responses).where(responses.c.id == response.id).values(dead))
        assert here.client.responses.retrieve(response.id).status == "failed"


def test_what_is_kept_for_one_key_is_nobody_elses(serve, ledger):
    body = {"id": "resp_a", "object": "response", "status": "completed", "model": "fugu", "output": [], "usage": None}
    mine = Kept("resp_a", "completed", body, (), owner="key-1", conversation="c")
    with ledger.transaction() as connection:
        for kept in (mine, replace(mine, id="resp_b", body={**body, "id": "resp_b"}, owner=None)):
            put(ledger, kept)(connection, ledger.now(connection))
    with serve("count") as here:
        assert here.client.responses.retrieve("resp_b").id == "resp_b"
        for ask in (here.client.responses.retrieve, here.client.responses.delete, here.client.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                ask("resp_a")
        with pytest.raises(openai.BadRequestError, match="no response"):
            here.client.responses.create(model="fugu", input="x", previous_response_id="resp_a")


def test_texts_of_responses_go_with_those_of_requests(serve, ledger):
    from datetime import timedelta

    with serve("echo") as here:
        first = here.client.responses.create(model="fugu", input="MARKER", metadata={"a": "MARKER"})
        second = here.client.responses.create(model="fugu", input="x", previous_response_id=first.id)
        assert prune(ledger, timedelta(0), 1 << 40).responses == 2
        with ledger.reading() as connection:
            rows = connection.execute(select(responses.c.body)).scalars().all()
        assert "MARKER" not in str(rows) and rows[0]["response"]["usage"]["total_tokens"] == 8
        for gone in (first.id, second.id):
            with pytest.raises(openai.APIStatusError) as refused:
                here.client.responses.retrieve(gone)
            assert refused.value.status_code == 410
