"""Statements that are run for every request: compiled once, and run by the database's driver itself.

SQLAlchemy looks up, checks and wraps anew each time that a statement is executed. Measured with SQLite, on batches of
eight calls: that takes seven times as long as the database, and all writes of a call become three times as fast without
it. Values and rows pass through the types of the columns as ever.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, String, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

Values = Mapping[str, Any]
"""Of a statement's parameters, by name."""

_Process = Callable[[Any], Any]


class Prepared:
    """One statement. `make`: gives it for a dialect; its values are `bindparam`s, or columns of an INSERT.

    For the connections of `Ledger.transaction`. Raises the driver's own errors, which `outage.is_away` knows, too.
    """

    def __init__(self, make: Callable[[Dialect], Any], columns: Sequence[str] | None = None) -> None:
        self._make, self._columns = make, columns
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Sequence[Values]) -> int:
        """Run it for each of the values; the number of rows that were written."""
        if not values:
            return 0
        return self._for(connection).run(connection, values)

    def rows(self, connection: Connection, values: Values) -> list[Any]:
        """The rows of a SELECT, as named tuples."""
        return self._for(connection).rows(connection, values)

    def _for(self, connection: Connection) -> _Compiled:
        dialect = connection.dialect
        made = self._compiled.get(dialect.name)
        if made is None:
            made = self._compiled[dialect.name] = _Compiled(self._make(dialect), dialect, self._columns)
        return made


def insert(dialect: Dialect, table: Table) -> Any:
    """An INSERT in the dialect, which supports ON CONFLICT."""
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


def upsert(table: Table, key: str, columns: Sequence[str], replaced: Sequence[str]) -> Prepared:
    """An INSERT of these columns which, where the `key` is there already, replaces some of them."""

    def make(dialect: Dialect) -> Any:
        statement = insert(dialect, table)
        new = {name: getattr(statement.excluded, name) for name in replaced}
        return statement.on_conflict_do_update(index_elements=[key], set_=new)

    return Prepared(make, columns)


class PreparedFor:
    """A statement about a list of ids. `make`: gives it for the parameters that stand for them.

    One is compiled for each power of two; the last id fills up the rest.
    """

    def __init__(self, make: Callable[[list[BindParameter[str]]], Any]) -> None:
        self._make = make
        self._sizes: dict[int, Prepared] = {}

    def run(self, connection: Connection, ids: Sequence[str], values: Values | None = None) -> int:
        """Run it; the number of rows that were written."""
        return self._of(ids).run(connection, [_named(ids) | dict(values or {})]) if ids else 0

    def rows(self, connection: Connection, ids: Sequence[str], values: Values | None = None) -> list[Any]:
        """The rows of a SELECT, as named tuples."""
        return self._of(ids).rows(connection, _named(ids) | dict(values or {})) if ids else []

    def _of(self, ids: Sequence[str]) -> Prepared:
        size = _size(len(ids))
        if size not in self._sizes:
            params = [bindparam(f"id_{number}", type_=String()) for number in range(size)]
            self._sizes[size] = Prepared(lambda _: self._make(params))
        return self._sizes[size]


@dataclass(frozen=True)
class _Reader:
    """`row`: a class of named tuples. `processes`: of values at these places."""

    row: Any
    processes: Sequence[tuple[int, _Process]]

    def __call__(self, given: Sequence[Any]) -> Any:
        values = list(given)
        for at, process in self.processes:
            values[at] = process(values[at])
        return self.row._make(values)


class _Compiled:
    """A statement in one dialect."""

    def __init__(self, statement: Any, dialect: Dialect, columns: Sequence[str] | None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=None if columns is None else list(columns))
        self._sql = str(compiled)
        self._given: dict[str, Any] = dict(compiled.params)
        self._order: list[str] | None = compiled.positiontup
        self._processes: dict[str, _Process] = {}
        for bind, name in compiled.bind_names.items():
            process = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if process is not None:
                self._processes[name] = process
        self._dialect = dialect
        self._shown = list(statement.selected_columns) if isinstance(statement, Select) else []
        self._read: _Reader | None = None

    def run(self, connection: Connection, values: Sequence[Values]) -> int:
        cursor = connection.connection.cursor()
        try:
            if len(values) == 1:
                cursor.execute(self._sql, self._bound(values[0]))
            else:
                cursor.executemany(self._sql, [self._bound(each) for each in values])
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def rows(self, connection: Connection, values: Values) -> list[Any]:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._sql, self._bound(values))
            if self._read is None:
                self._read = self._reader(cursor.description)
            return [self._read(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def _reader(self, described: Sequence[Sequence[Any]]) -> _Reader:
        """What makes a named tuple of a row, with values of the columns' types, by what the driver says they are."""
        make: Any = namedtuple
        row, processes = make("Row", [column.key for column in self._shown]), list[tuple[int, _Process]]()
        for at, (column, (_, kind, *_)) in enumerate(zip(self._shown, described, strict=True)):
            process = column.type.dialect_impl(self._dialect).result_processor(self._dialect, kind)
            if process is not None:
                processes.append((at, process))
        return _Reader(row, processes)

    def _bound(self, values: Values) -> Any:
        bound = {**self._given, **values}
        for name, process in self._processes.items():
            bound[name] = process(bound[name])
        return bound if self._order is None else [bound[name] for name in self._order]


def _size(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _named(ids: Sequence[str]) -> dict[str, Any]:
    filled = [*ids, *[ids[-1]] * (_size(len(ids)) - len(ids))]
    return {f"id_{number}": id for number, id in enumerate(filled)}
