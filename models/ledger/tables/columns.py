"""Column types that behave the same on both databases, and the metadata of all tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, MetaData, Text, TypeDecorator
from sqlalchemy.engine import Dialect

from models.ledger.text import storable

metadata = MetaData()


class Utc(TypeDecorator[datetime]):
    """A time, always timezone-aware and in UTC, also on SQLite, which stores no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Usd(TypeDecorator[float]):
    """US dollars, stored as whole billionths: sums and limits are exact."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> int | None:
        return None if value is None else round(value * 1e9)

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        return None if value is None else float(value) / 1e9


class Words(TypeDecorator[str]):
    """Any text; characters that databases cannot store are replaced."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class Count(TypeDecorator[int]):
    """A count, clamped to [0, 2**31 - 1]."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else min(max(value, 0), 2**31 - 1)
