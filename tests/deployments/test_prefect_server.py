"""Prefect's server on SQLite: transactions that read first and then write wait for one another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

COUNT = text("SELECT n FROM counter")


@pytest.mark.asyncio
async def test_transactions_that_read_and_then_write_queue_up(tmp_path: Path) -> None:
    """Begun deferred, all but the first would fail: what they have read is no longer the newest."""
    from deployments.prefect_server import QueueingSqlite  # takes seconds: not in every process that collects

    configuration = QueueingSqlite(connection_url=f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    engine = await configuration.engine()
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        await connection.execute(text("INSERT INTO counter VALUES (0)"))

    async def add() -> None:
        session = await configuration.session(engine)
        async with session, configuration.begin_transaction(session):
            known = (await session.execute(COUNT)).scalar_one()
            await asyncio.sleep(0)  # the others read meanwhile
            await session.execute(text("UPDATE counter SET n = :n"), {"n": known + 1})

    await asyncio.gather(*(add() for _ in range(12)))
    async with engine.connect() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 12
        assert (await connection.execute(text("PRAGMA busy_timeout"))).scalar_one() == 10_000
    await engine.dispose()
