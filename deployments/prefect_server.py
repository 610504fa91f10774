"""Prefect's own server, with SQLite transactions that wait for one another instead of failing.

Prefect begins most SQLite transactions deferred. One that reads first and then writes fails immediately, whatever the
timeout, if another has committed in between; the request is answered 503 and retried 2 s later. Worse, the traceback
keeps the failed statement's cursor. If it is freed on the event loop's thread while another thread waits for the
database lock on the same connection, the loop blocks, and with it the holder of the lock: the server hangs for the
60 s of the busy timeout (measured on 3.8.8: in 5 of 15 first starts). Transactions that begin as writers (BEGIN
IMMEDIATE) queue for the lock, so neither happens.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prefect.server.api import server
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import get_current_settings
from starlette.middleware import Middleware

from deployments.doors import Doors, allowed
from deployments.overrides import Overrides
from tasks.setup.settings import settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import FastAPI
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
    from sqlalchemy.pool import ConnectionPoolEntry
    from starlette.types import ASGIApp

BUSY_TIMEOUT_MS = 10_000
"""A writer's wait for others: far more than they take together, and the longest time that the server could hang."""


class QueueingSqlite(AioSqliteConfiguration):
    """SQLite configuration in which every transaction begins as a writer."""

    def setup_sqlite(self, conn: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        super().setup_sqlite(conn, record)
        cursor = conn.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.close()

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


def create_app() -> ASGIApp:
    """The application behind the Host and Origin checks, for uvicorn.

    The checks wrap the application: Prefect's services call the application itself, with a made-up host.
    """
    secret = get_current_settings().server.database.connection_url
    url = secret.get_secret_value() if secret is not None else ""
    if url.startswith("sqlite"):
        MODELS_DEPENDENCIES["database_config"] = QueueingSqlite(connection_url=url)
    app = server.create_app()
    # The innermost middleware: a caller without the secret is refused before the body is read.
    api: FastAPI = app.api_app  # type: ignore[attr-defined]
    api.user_middleware.append(Middleware(Overrides))
    return Doors(app, allowed(settings()))
