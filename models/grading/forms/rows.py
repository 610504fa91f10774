"""The rows of files: JSON lines, JSON lists, CSV, Parquet, and zip archives of JSON; of a file or a folder of them."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import BadFile
from models.files import STRICT, read_text, storable
from models.grading.forms.reply import Row
from models.grading.question import blamed

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".zip")
_CELL_CHARS = 2**31 - 1  # of a CSV file: a model's whole reply may stand in one

Table = Iterator[tuple[int, Any]]
"""Values with the line, or for Parquet the row, at which each begins."""


def files_of(root: Path) -> list[Path]:
    """The files to read: the one that was named, or those of a folder. Raises BadFile where there is none."""
    if not root.is_dir():
        return [root]
    found = sorted(path for path in root.rglob("*") if kind_of(path) in SUFFIXES and path.is_file())
    if not found:
        raise BadFile(root, f"a folder without a file that ends in {', '.join(SUFFIXES)}")
    return found


def kind_of(path: Path) -> str:
    """The ending that says how a file is read, without `.gz`."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def rows_of(root: Path, path: Path) -> Iterator[Row]:
    """A file's objects. Raises BadFile for what cannot be read and for a value that is no object, naming the line."""
    for line, value in _table(path):
        if not isinstance(value, dict):
            raise BadFile(path, f"an object is needed, not {str(value)[:40]!r}", line)
        yield Row(root, path, line, value)


def _table(path: Path) -> Table:
    kind = kind_of(path)
    if kind in (".pkl", ".pickle"):
        raise BadFile(
            path,
            "a pickle runs whatever code it holds when it is read: convert it where you trust it, "
            "with pandas.read_pickle(…).to_parquet(…)",
        )
    if kind == ".csv":
        return _comma_separated(path)
    if kind == ".parquet":
        return _parquet(path)
    if kind == ".zip":
        return _zipped(path)
    return _json(path, read_text(path))


def _json(path: Path, text: str) -> Table:
    return _items(path, text) if text.lstrip()[:1] == "[" else _lines(path, text)


def _lines(path: Path, text: str) -> Table:
    """JSON lines; or one object over several lines, which is one value."""
    if kind_of(path) == ".json":
        with blamed(path, 1):
            yield 1, storable(STRICT.decode(text))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            with blamed(path, number):
                value = storable(STRICT.decode(line))
            yield number, value


def _items(path: Path, text: str) -> Table:
    """The items of a JSON list, one after the other."""
    at, line = text.index("[") + 1, 1
    counted = 0
    while True:
        at = _past_space(text, at)
        line, counted = line + text.count("\n", counted, at), at
        if text[at : at + 1] == "]":
            break
        with blamed(path, line):
            value, end = STRICT.raw_decode(text, at)
            storable(value)
        yield line, value
        at = _past_space(text, end)
        if text[at : at + 1] not in (",", "]"):
            raise BadFile(path, "not JSON: a comma or the list's end is needed", line + text.count("\n", counted, at))
        at += text[at] == ","
    if text[at + 1 :].strip():
        raise BadFile(path, "not JSON: something follows the list", line)


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\r", "\t"):
        at += 1
    return at


def _comma_separated(path: Path) -> Table:
    csv.field_size_limit(_CELL_CHARS)
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    line = 2
    with blamed(path, None):
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise BadFile(path, "not as many cells as the first line has columns", line)
                yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadFile(path, f"not CSV: {error}", reader.line_num) from None


def _parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            start = 1
            for batch in file.iter_batches(1024):
                yield from enumerate(batch.to_pylist(), start=start)
                start += batch.num_rows
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise BadFile(path, f"not a Parquet file: {str(error).splitlines()[0]}") from None


def _zipped(path: Path) -> Table:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json") and not name.startswith("__MACOSX"):
                    yield from _json(path / name, archive.read(name).decode("utf-8"))
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"not a zip archive of JSON: {error}") from None
