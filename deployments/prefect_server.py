"""Prefect's own server, with transactions on SQLite that wait for one another instead of failing.

Prefect begins most of its transactions on SQLite deferred: one that reads first and then writes fails at once, whatever
the timeout, where another has committed in between. The request is answered 503 and tried again 2 s later. Worse, the
failed statement's cursor outlives it in a traceback; where that is freed on the event loop's thread while the same
connection waits for the database's lock, in a thread of its own, the loop waits with it, and with the loop whoever
holds the lock: the server stands still for the 60 s of the busy timeout (measured on 3.8.8: in 5 of 15 first
starts). Begun at once as writers, transactions queue for the lock, and nothing of this happens.
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
"""Of a writer that waits for others: far more than all of them take, and the most that the server could stand still."""


class QueueingSqlite(AioSqliteConfiguration):
    """SQLite on which every transaction is begun as a writer's."""

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
    """The application behind its door, for uvicorn.

    The door is around it, not in it: Prefect's services call the application itself, by a host of its own making.
    """
    secret = get_current_settings().server.database.connection_url
    url = secret.get_secret_value() if secret is not None else ""
    if url.startswith("sqlite"):
        MODELS_DEPENDENCIES["database_config"] = QueueingSqlite(connection_url=url)
    app = server.create_app()
    # The innermost middleware: whoever has no secret is refused before a body is read.
    api: FastAPI = app.api_app  # type: ignore[attr-defined]
    api.user_middleware.append(Middleware(Overrides))
    return Doors(app, allowed(settings()))
