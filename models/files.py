"""Strict readers of YAML and JSON files, and an atomic file writer. Input that parsers disagree on is refused.

Refused are duplicate keys, `010` (eight or ten?), `1:30` and `.inf`, each with an error that names the file and line.
YAML follows version 1.2: `no`, `on` and `2025-08-07` are texts. Anchors and merge keys work.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import math
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from models.errors import BadFile

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """A YAML file: its `value`, and the `node` tree with the line of each part."""

    path: Path
    value: Any
    node: yaml.Node | None

    def line(self, place: Sequence[int | str]) -> int | None:
        """The line (from 1) of the deepest part of `place` that the document has."""
        node, line = self.node, None if self.node is None else self.node.start_mark.line + 1
        for part in place:
            inner: yaml.Node | None = None
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == part:
                        inner, line = value, key.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                inner = node.value[part]
                line = inner.start_mark.line + 1
            if inner is None:
                return line
            node = inner
        return line

    def parsed(self, kind: type[Model], *place: str) -> Model:
        """The part of the document at `place` as a `kind`. Raises BadFile, naming the line, where it is not valid."""
        part = self.value
        for name in place:
            part = part[name]
        try:
            return kind.model_validate(part)
        except ValidationError as error:
            first = error.errors()[0]
            where = (*place, *first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise BadFile(self.path, f"{'.'.join(map(str, where)) or 'file'}: {message}", self.line(where)) from None

    def entry(self, kind: type[Model], name: str, what: str) -> Model:
        """The entry `name` of a file that maps names to entries. Raises BadFile, also where there is no such entry."""
        if not isinstance(self.value, dict):
            raise BadFile(self.path, f"has to map names to {what}s", self.line(()))
        if name not in self.value:
            raise BadFile(self.path, f"no {what} {name!r}; there are {', '.join(map(str, self.value))}")
        return self.parsed(kind, name)


def read_yaml(path: Path) -> Document:
    """Read a YAML file. Raises BadFile, with the line where it is known."""
    text = read_text(path)
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return Document(path, None if node is None else loader.construct_document(node), node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadFile(path, f"not YAML: character U+{error.character:04X} is not allowed", line) from None
    except yaml.MarkedYAMLError as error:
        mark, ours = error.problem_mark, isinstance(error, _Refused)
        what = error.problem if ours else f"not YAML: {error.problem}"
        raise BadFile(path, str(what), None if mark is None else mark.line + 1) from None
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"holds a value that cannot be read: {error}") from None
    finally:
        if loader is not None:
            loader.dispose()


def try_lock(file: IO[str], *, shared: bool = False) -> bool:
    """Take the file's lock, held until it is closed; `False` where another process has it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_text(path: Path) -> str:
    """Read a UTF-8 file, or one that gzip compressed (`.gz`). Raises BadFile, with the line of the first byte that is
    not UTF-8."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(path, f"not UTF-8: {error.reason}", content.count(b"\n", 0, error.start) + 1) from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


@contextmanager
def staged(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """A file to write, replaced atomically: complete and synced to disk after the block, untouched after an error.

    Raises OSError, naming the file, where it cannot be written.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open(mode, encoding="utf-8" if mode == "w" else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A path to make `folder` at, which then takes its name: an existing folder is complete. For the holder of its
    lock, who first removes what one that was killed left."""
    prefix = f".making-{folder.name}-"
    for left in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as partial:
        yield Path(partial) / folder.name
        (Path(partial) / folder.name).rename(folder)


def parse_json(text: str) -> Any:
    """Parse JSON. Raises ValueError for a duplicate key, NaN or infinity, and a text that databases cannot store."""
    return storable(STRICT.decode(text))


def storable(value: Any) -> Any:
    """A JSON value whose texts databases can store. Raises ValueError for another."""
    for each in _texts(value):
        if (problem := unfit(each)) is not None:
            raise ValueError(problem)
    return value


def unfit(text: str) -> str | None:
    """The reason why a text cannot be stored in every database, or `None` if it can."""
    if "\0" in text:
        return "a text holds the character NUL, which databases cannot store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text holds half of a surrogate pair (surrogates not allowed), which is not a character"
    return None


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} appears twice")
        found[key] = value
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
"""Refuses duplicate keys, NaN and infinity."""

MAX_DIGITS = 30
"""Most digits of an integer: no count, limit or seed has more."""

_FLOAT = re.compile(r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DOUBTFUL = re.compile(
    r"""[-+]?(?: 0[0-9_]+ | 0[oO][0-7_]+ | 0[xX][0-9a-fA-F_]+ | 0[bB][01_]+  # octal or decimal? hexadecimal or text?
      | [0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?                                   # 1_000
      | [0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?                          # 1:30, to some readers 90
      | \.(?:inf|Inf|INF) ) | \.(?:nan|NaN|NAN)""",
    re.VERBOSE,
)
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "null": re.compile(r"~|null|Null|NULL|"),
    "merge": re.compile(r"<<"),
    "doubtful": _DOUBTFUL,
    "int": _INT,
    "float": _FLOAT,
}


class _Refused(yaml.MarkedYAMLError):
    """YAML that is valid but refused here."""

    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own form: by a scalar's first character; None: any)
        None: [(_TAG + kind, re.compile(rf"(?:{each.pattern})\Z", each.flags)) for kind, each in _PLAIN.items()]
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse duplicate keys. Runs before merge keys are resolved, so that a merged key may still be overridden."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _Refused(f"the key {key.value!r} is already on line {seen[key.value]}", key)
                seen[key.value] = key.start_mark.line + 1
        return node

    def text(self, node: yaml.Node) -> str:
        """The text of a scalar, if databases can store it."""
        if not isinstance(node, yaml.ScalarNode):
            raise _Refused("a single value is needed here", node)
        if (problem := unfit(node.value)) is not None:
            raise _Refused(problem, node)
        return str(node.value)

    def number(self, node: yaml.Node) -> int | float:
        """A number that every YAML parser reads the same way."""
        text = self.text(node)
        if _INT.fullmatch(text) and len(text) <= MAX_DIGITS:
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        problem = f"{text[:40]} is no plain, finite number: write it in decimal digits, or in quotes if it is text"
        raise _Refused(problem, node)

    def truth(self, node: yaml.Node) -> bool:
        text = self.text(node)
        if not _PLAIN["bool"].fullmatch(text):
            raise _Refused(f"{text[:40]!r} is neither true nor false", node)
        return text.lower() == "true"


_Loader.yaml_constructors = {
    _TAG + "str": _Loader.text,
    _TAG + "int": _Loader.number,
    _TAG + "float": _Loader.number,
    _TAG + "doubtful": _Loader.number,
    _TAG + "bool": _Loader.truth,
    _TAG + "null": _Loader.construct_yaml_null,
    _TAG + "seq": _Loader.construct_yaml_seq,
    _TAG + "map": _Loader.construct_yaml_map,
    None: _Loader.construct_undefined,
}
