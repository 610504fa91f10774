"""`fugu up`'s Prefect server on PostgreSQL and Redis: what is refused before anything starts, and real flow runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import tiny_home
from clusters import PROGRAMS, cluster
from sqlalchemy.engine import make_url

from deployments import server
from deployments.places import databases
from models.errors import BadInput, PermanentError
from tasks.setup.settings import settings

NOWHERE = "postgresql+asyncpg://someone:password1@127.0.0.1:1/prefect"


@pytest.fixture(scope="module")
def empty() -> Iterator[Iterator[str]]:
    """Gives the URLs of empty databases of a real PostgreSQL."""
    if not all(map(shutil.which, PROGRAMS)):
        pytest.skip("PostgreSQL is not installed")
    port, names = server.free_port("127.0.0.1", 0, ""), [f"prefect{number}" for number in range(8)]
    with cluster(port, "fugu", "password1", names):
        yield iter([f"postgresql+asyncpg://fugu:password1@127.0.0.1:{port}/{name}" for name in names])


@pytest.fixture
def database(empty: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, which the setting names."""
    url = next(empty)
    monkeypatch.setenv("FUGU_PREFECT_DATABASE", url)
    return url


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    plain = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        yield connection


@pytest.fixture
def redis(tmp_path: Path, until: Callable[..., None]) -> Iterator[str]:
    """A real server of its own."""
    pytest.importorskip("prefect_redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed")
    from redis import Redis
    from redis.exceptions import ConnectionError

    port = server.free_port("127.0.0.1", 0, "")
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return Redis(port=port).ping()
        except ConnectionError:
            return False

    try:
        until(answers)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FUGU_PREFECT_DATABASE", "postgresql://u:password1@h/prefect", "postgresql+asyncpg://USER"),
        ("FUGU_PREFECT_DATABASE", "mysql://u:password1@h/prefect", "postgresql+asyncpg://USER"),
        ("FUGU_PREFECT_DATABASE", "postgresql+asyncpg://u:password1@h", "/DATABASE"),
        ("FUGU_PREFECT_DATABASE", NOWHERE, "cannot be used: "),
        ("FUGU_PREFECT_REDIS", "http://:password1@127.0.0.1:6379", "redis://"),
        ("FUGU_PREFECT_REDIS", "redis://:password1@127.0.0.1:6379/one", "NUMBER"),
        ("FUGU_PREFECT_REDIS", "redis://:password1@127.0.0.1:1/0", "FUGU_PREFECT_REDIS needs FUGU_PREFECT_DATABASE"),
    ],
)
def test_what_cannot_be_is_one_line_without_the_password_and_nothing_is_started(
    run, cli_home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    status, out, err = run("up", "--port", "0", "--prefect-port", "0")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert variable in err and says in err and "password1" not in err
    assert not (cli_home / "logs").exists() and not (cli_home / "ledger.db").exists()


def test_redis_without_its_package_is_refused(cli_home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUGU_PREFECT_REDIS", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(databases, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="the extra 'redis'"), databases.held(settings()):
        pass


def test_a_redis_that_does_not_answer_is_one_line(
    run, cli_home: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUGU_PREFECT_REDIS", "redis://:password1@127.0.0.1:1/0")
    monkeypatch.setattr(databases, "find_spec", lambda name: object())  # installed or not
    status, _, err = run("up", "--port", "0", "--prefect-port", "0")
    assert (status, err.count("\n")) == (2, 1)
    assert "the Redis at FUGU_PREFECT_REDIS does not answer" in err and "password1" not in err


def test_a_database_of_somebody_else_is_left_alone(cli_home: Path, connection: psycopg.Connection[Any]) -> None:
    connection.execute("CREATE TABLE flow_run (id int)")
    for look in (databases.look, lambda here: databases.held(here).__enter__()):
        with pytest.raises(BadInput, match="it has the table flow_run"):
            look(settings())
    assert connection.execute("SELECT to_regclass('fugu_up')").fetchone() == (None,)


def test_a_postgresql_without_prefects_extension_is_one_line(
    run, cli_home: Path, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgres.database()).set(drivername="postgresql+asyncpg")  # from a wheel, without extensions
    monkeypatch.setenv("FUGU_PREFECT_DATABASE", url.render_as_string(hide_password=False))
    status, _, err = run("up", "--port", "0", "--prefect-port", "0")
    assert (status, err.count("\n")) == (2, 1) and "lacks the extension pg_trgm" in err


def test_one_fugu_up_at_a_time_and_again_later(
    cli_home: Path, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = settings()
    with databases.held(here):
        connection.execute("CREATE TABLE flow_run (id int)")  # as Prefect's server does
        monkeypatch.setattr(databases, "PATIENCE_S", 0)
        with pytest.raises(PermanentError, match="another `fugu up` runs on the database"), databases.held(here):
            pass
        monkeypatch.undo()
    with databases.held(here):
        assert databases.look(here).startswith("PostgreSQL ")


def test_the_doctor_says_where_the_server_keeps_its_runs(
    run, cli_home: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUGU_PORT", "0")
    monkeypatch.setenv("FUGU_PREFECT_PORT", "0")
    _, out, _ = run("doctor")
    assert "its server runs on PostgreSQL " in out
    monkeypatch.setenv("FUGU_PREFECT_DATABASE", NOWHERE)
    status, out, _ = run("doctor")
    [missing] = [line for line in out.splitlines() if "MISSING" in line]
    assert status == 1 and "FUGU_PREFECT_DATABASE" in missing and "password1" not in out


DEPLOYMENTS = """
pull: []
deployments:
  - name: measure-learn-serve
    entrypoint: standin_flows:first_light
    work_pool: {name: gpu}
    parameters: {}
"""


def brought_up(folder: Path, own: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`fugu up --once` with stand-ins for flow and endpoint: a run on its pool, and a question."""
    tests, file = Path(__file__).parent, tiny_home.write(folder, DEPLOYMENTS)
    words = [sys.executable, str(tests / "standin_up.py"), str(file), "up", "--once"]
    return subprocess.run(
        [*words, "--port", "0", "--prefect-port", "0"],
        env=tiny_home.environment(folder, folder / "home", tests, **own),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.programs
@pytest.mark.parametrize("with_redis", [False, True])
def test_a_flow_runs_to_its_end_on_them(
    tmp_path: Path,
    database: str,
    connection: psycopg.Connection[Any],
    request: pytest.FixtureRequest,
    with_redis: bool,
) -> None:
    own = {"FUGU_PREFECT_REDIS": request.getfixturevalue("redis")} if with_redis else {}
    done = brought_up(tmp_path, own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first-light/measure-learn-serve is done" in done.stdout
    runs = connection.execute("SELECT state_type, count(*) FROM flow_run GROUP BY 1").fetchall()
    assert runs and {state for state, _ in runs} == {"COMPLETED"}
    assert not list((tmp_path / "home" / "prefect").glob("*.db"))
    assert connection.execute("SELECT count(*) FROM events").fetchone() != (0,)  # they went by the broker
    if with_redis:
        from redis import Redis

        assert Redis.from_url(own["FUGU_PREFECT_REDIS"]).dbsize() > 0
    assert brought_up(tmp_path, own).returncode == 0  # and again, with what is there
