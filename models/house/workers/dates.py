"""Calendar dates and clock times."""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta

from models.house.workers.problem import Problem

_MONTHS = tuple(name.lower() for name in calendar.month_name)
_MONTH = "|".join(_MONTHS[1:])
_DATE = re.compile(
    rf"(?P<iso>\b\d{{4}}-\d{{2}}-\d{{2}}\b)"
    rf"|(?P<d1>\b\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<m1>{_MONTH})(?: in)?,? (?P<y1>\d{{3,4}})\b"
    rf"|(?P<m2>\b(?:{_MONTH})) (?P<d2>\d{{1,2}})(?:st|nd|rd|th)?,? (?:in )?(?P<y2>\d{{3,4}})\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b")
_DAYS = re.compile(r"\b(\d+) days\b")
_MINUTES = re.compile(r"\b(\d+) minutes\b")


def _date(found: re.Match[str]) -> date:
    if found["iso"]:
        return date.fromisoformat(found["iso"])
    day, month, year = found["d1"] or found["d2"], found["m1"] or found["m2"], found["y1"] or found["y2"]
    return date(int(year), _MONTHS.index(month.lower()), int(day))


def _spell(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def read(text: str) -> Problem | None:
    """The problem about dates or times in the text, or `None`."""
    if (clock := _CLOCK.search(text)) and (minutes := _MINUTES.search(text)):
        return Problem("clock", len(minutes[1]), lambda: _later_time(clock, int(minutes[1])), "word")
    found = list(_DATE.finditer(text))
    if len(found) == 2:
        return Problem("between", 1, lambda: str(abs((_date(found[1]) - _date(found[0])).days)))
    if len(found) != 1:
        return None
    if days := _DAYS.search(text):
        return Problem("later", len(days[1]), lambda: _spell(_date(found[0]) + timedelta(int(days[1]))), "word")
    if re.search(r"\bweekday\b|\bday of the week\b", text, re.IGNORECASE):
        return Problem("weekday", 1, lambda: f"{_date(found[0]):%A}", "word")
    return None


def _later_time(clock: re.Match[str], minutes: int) -> str:
    end = (int(clock[1]) * 60 + int(clock[2]) + minutes) % (24 * 60)
    return f"{end // 60:02d}:{end % 60:02d}"
