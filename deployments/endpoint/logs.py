"""One line of JSON per log record. No prompt and no reply is ever logged.

Of an exception only its class and frames are logged: its message may quote a text. A library's message may, too: unless
FUGU_SHOW_TEXTS is set, only the library and the place of its record are logged.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from models.errors import loggable
from tasks.setup.texts import shown

OURS = ("deployments", "models", "tasks", "uvicorn")


class JsonLines(logging.Formatter):
    """`time`, `level`, `event`, then the record's `fields`, if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": _event(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = _frames(record.exc_info[1])
        return json.dumps(line)


def _event(record: logging.LogRecord) -> str:
    if record.name.split(".")[0] in OURS or shown():
        return record.getMessage()
    return f"{record.name} speaks at {record.filename}:{record.lineno} (FUGU_SHOW_TEXTS=true shows its words)"


def _frames(error: BaseException | None) -> list[str]:
    """The frames of an error, innermost last, then its class; before them those of its cause."""
    lines: list[str] = []
    while error is not None:
        found = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        lines = [*found, loggable(error), *lines]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def log_to_stderr() -> None:
    """Log our records from INFO, those of libraries (litellm logs much) from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.captureWarnings(True)  # pydantic's warnings quote values
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
