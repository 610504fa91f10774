"""The PostgreSQL and the Redis of `fugu up`'s own Prefect server, where FUGU_PREFECT_DATABASE and FUGU_PREFECT_REDIS
name them.

Its start ends every unfinished flow run in the database. So the database is this `fugu up`'s alone: it was empty when
a `fugu up` first took it, which a table in it says, and an advisory lock is held on it as long as `fugu up` runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from models.errors import BadInput, PermanentError, UpstreamUnavailable

if TYPE_CHECKING:
    from psycopg import Connection

    from tasks.setup.settings import Settings

DATABASE, REDIS = "FUGU_PREFECT_DATABASE", "FUGU_PREFECT_REDIS"

PATIENCE_S = 5
"""Seconds in which a database has to answer, and in which the lock of a `fugu up` that was killed is gone."""

LOCK = 0x66756775
"""Key of the advisory lock; PostgreSQL has one of each key in every database."""

EXTENSION = "pg_trgm"

MARK = "fugu_up"
"""The table that says that the database is a `fugu up`'s."""


def variables(here: Settings) -> dict[str, str]:
    """Prefect's variables for these databases; none for what is left to SQLite and to the server's memory."""
    found = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": here.prefect_database} if here.prefect_database else {}
    if here.prefect_redis:
        found |= {
            "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
            "PREFECT_REDIS_MESSAGING_URL": here.prefect_redis,
            "PREFECT_SERVER_DOCKET_URL": here.prefect_redis,
        }
    return found


@contextmanager
def held(here: Settings) -> Iterator[None]:
    """Look at the databases that the settings name, and hold the PostgreSQL one against any other `fugu up`.

    Raises BadInput for a database that is no `fugu up`'s and not empty, and for Redis without PostgreSQL or without
    prefect_redis; UpstreamUnavailable where one does not answer; PermanentError where another `fugu up` holds it.
    """
    _check_redis(here)
    if not here.prefect_database:
        yield
        return
    with _connected(here.prefect_database) as connection:
        _lock(connection)
        _take(connection)
        yield


def look(here: Settings) -> str:
    """A line on what answers, for `fugu doctor`; nothing is locked or made. Raises as `held` does, but for the lock."""
    _check_redis(here)
    if not here.prefect_database:
        return "SQLite"
    with _connected(here.prefect_database) as connection:
        _check_extension(connection)
        _check_is_ours(connection)
        version = connection.info.server_version // 10_000
    return f"PostgreSQL {version}" + (" and Redis" if here.prefect_redis else "")


def _check_redis(here: Settings) -> None:
    if not here.prefect_redis:
        return
    if not here.prefect_database:
        raise BadInput(f"{REDIS} needs {DATABASE}: with SQLite there is one server, which needs no Redis", REDIS)
    if find_spec("prefect_redis") is None:
        raise BadInput(f"{REDIS} needs the extra 'redis': pip install -c constraints.txt -e '.[redis]'", REDIS)
    from redis import Redis
    from redis.exceptions import RedisError

    wait: dict[str, float] = {"socket_connect_timeout": PATIENCE_S, "socket_timeout": PATIENCE_S}
    client = Redis.from_url(here.prefect_redis, **wait)
    try:
        client.ping()
    except RedisError as error:
        raise UpstreamUnavailable(f"the Redis at {REDIS} does not answer: {_line(error)}") from None
    finally:
        client.close()


@contextmanager
def _connected(url: str) -> Iterator[Connection[tuple[object, ...]]]:
    """A connection by the driver that the ledger uses; what asyncpg calls `ssl` is `sslmode` there."""
    import psycopg

    wanted = make_url(url)
    asked = {name: str(wanted.query[name]) for name in ("host", "port", "ssl") if name in wanted.query}
    if "ssl" in asked:
        asked["sslmode"] = asked.pop("ssl")
    plain = wanted.set(drivername="postgresql", query=asked).render_as_string(hide_password=False)
    try:
        connection = psycopg.connect(plain, autocommit=True, connect_timeout=PATIENCE_S, application_name="fugu up")
    except psycopg.Error as error:
        raise UpstreamUnavailable(f"the PostgreSQL at {DATABASE} cannot be used: {_line(error)}") from None
    try:
        yield connection
    finally:
        connection.close()


def _lock(connection: Connection[tuple[object, ...]]) -> None:
    """Hold the lock until the connection is closed. Raises PermanentError where another `fugu up` has it."""
    deadline = time.monotonic() + PATIENCE_S
    while connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise PermanentError(f"another `fugu up` runs on the database of {DATABASE}: give each home its own")
        time.sleep(0.1)


def _check_is_ours(connection: Connection[tuple[object, ...]]) -> None:
    """Raises BadInput for a database of somebody else: with tables, and without the mark."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) ORDER BY 1"
    names = [str(name) for (name,) in connection.execute(tables)]
    if names and MARK not in names:
        raise BadInput(
            f"the database of {DATABASE} is not empty (it has the table {names[0]}), and not a `fugu up`'s, which ends "
            "all unfinished flow runs in it: create one for this home",
            DATABASE,
        )


def _check_extension(connection: Connection[tuple[object, ...]]) -> None:
    """Raises BadInput where PostgreSQL lacks the extension without which Prefect makes no tables."""
    there = "SELECT 1 FROM pg_available_extensions WHERE name = %s"
    if connection.execute(there, (EXTENSION,)).fetchone() is None:
        raise BadInput(
            f"the PostgreSQL at {DATABASE} lacks the extension {EXTENSION}, which Prefect needs: it is in PostgreSQL's "
            "package of contributed extensions",
            DATABASE,
        )


def _take(connection: Connection[tuple[object, ...]]) -> None:
    """Leave the mark in an empty database. Raises BadInput, UpstreamUnavailable."""
    import psycopg

    _check_extension(connection)
    _check_is_ours(connection)
    try:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (since timestamptz NOT NULL DEFAULT now())")
    except psycopg.Error as error:
        raise UpstreamUnavailable(f"the PostgreSQL at {DATABASE} cannot be used: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
