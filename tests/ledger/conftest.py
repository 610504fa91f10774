"""Every ledger test runs on SQLite and on a real PostgreSQL server; with FUGU_TEST_LEDGER=postgresql on that alone."""

import pytest
from databases import KIND, ON_POSTGRESQL, empty


@pytest.fixture(params=[KIND] if ON_POSTGRESQL else ["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of an empty database of the test's own."""
    return empty(request.param, request, tmp_path)
