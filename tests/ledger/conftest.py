"""Every ledger test runs on SQLite and on a real PostgreSQL server; with FUGU_TEST_LEDGER=postgresql on that alone."""

from datetime import UTC, datetime

import pytest
from databases import KIND, ON_POSTGRESQL, empty


@pytest.fixture(params=[KIND] if ON_POSTGRESQL else ["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of an empty database of the test's own."""
    return empty(request.param, request, tmp_path)


@pytest.fixture
def at(monkeypatch, ledger):
    """Sets the ledger's clock, which stands at noon first."""

    def at(time):
        monkeypatch.setattr(type(ledger), "now", lambda self, connection: time)

    at(datetime(2026, 11, 30, 12, tzinfo=UTC))
    return at
