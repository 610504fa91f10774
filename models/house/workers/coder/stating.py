"""What a text states: the number, name, place, date or list that a property's name means."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass

from models.house import almanac
from models.house.workers.coder.vocabulary import WORDS
from models.house.workers.problem import quoted

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w]*\d)")
_NAME = r"[A-Z][\w'’-]+(?: (?:[A-Z][\w'’-]+|\d{1,4}(?=[\s,.?!]|$)))*"
_NAMES = re.compile(_NAME)
_COUNTRIES = "|".join(re.escape(country.name) for country in almanac.COUNTRIES)
_AFTER = re.compile(rf"\b(?:in|at|from|for|to|near|of|around) ({_NAME}(?:, (?:[A-Z]{{2}}|{_COUNTRIES})\b)?)")
_LOWER_AFTER = re.compile(r"\b(?:in|at|for|near) ([a-z]{3,})\b")
_DAYS, _MONTHS = "|".join(calendar.day_name), "|".join(calendar.month_name[1:])
_DATE = re.compile(
    rf"\b(?:\d{{4}}-\d\d-\d\d|\d{{1,2}} (?:{_MONTHS})(?: \d{{4}})?|(?:{_MONTHS}) \d{{1,2}}(?:, \d{{4}})?"
    rf"|(?:next |this )?(?:{_DAYS})|today|tomorrow|tonight|yesterday)\b",
    re.IGNORECASE,
)
_TIME = re.compile(r"\b\d{1,2}:\d\d(?: ?[ap]m)?\b|\b\d{1,2} ?[ap]m\b|\bnoon\b|\bmidnight\b", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"https?://[^\s\"'<>]+")
_PHONE = re.compile(r"\+?\d[\d ()/-]{6,}\d")
_FORMULA = re.compile(r"[(\-]*\d[\d.]*(?:\s*\)*\s*(?:\*\*|[-+*/^×÷])\s*[(\-]*\d[\d.]*)+\)*")
_HAPPENING = re.compile(
    r"\b(?:to|attend|attending|at|join|for) (?:a|an|the) ([a-z][a-z ]*?)(?= (?:on|at|in|with)\b|[.,!?]|$)"
)
_LISTED = re.compile(r"\b[\w'-]+(?:, [\w'-]+)+(?:,? (?:and|or) [\w'-]+)?|\b[\w'-]+ and [\w'-]+")
_NO_NAMES = WORDS.opening | {name.lower() for name in (*calendar.day_name, *calendar.month_name)}


@dataclass(frozen=True)
class Number:
    """A number of the text, and where it stands."""

    value: int | float
    start: int
    end: int

    def distance(self, text: str, name: str) -> int:
        """How many characters lie between it and the nearest word of `name`; large if none is there."""
        ends = [found.span() for word in words(name) for found in re.finditer(rf"\b{re.escape(word)}", text.lower())]
        return min((max(self.start - end, start - self.end, 0) for start, end in ends), default=1 << 20)


def number(text: str) -> int | float | None:
    """The number that the text is, or `None`."""
    if not _NUMBER.fullmatch(text):
        return None
    plain = text.replace(",", "")
    return float(plain) if "." in plain else int(plain)


def numbers(text: str) -> list[Number]:
    """Every number of the text, in order, but for those in dates and times."""
    taken = [found.span() for pattern in (_DATE, _TIME) for found in pattern.finditer(text)]
    found = [match for match in _NUMBER.finditer(text) if not any(a <= match.start() < b for a, b in taken)]
    return [Number(value, m.start(), m.end()) for m in found if (value := number(m.group())) is not None]


def words(name: str) -> list[str]:
    """The words of a property's name: `first_name` and `firstName` are "first name"."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())


def has(text: str, option: str) -> bool:
    """Whether the text has the option's words, in any case."""
    plain = r"\W+".join(map(re.escape, re.findall(r"\w+", option.replace("_", " "))))
    return bool(plain) and re.search(rf"(?<!\w){plain}(?!\w)", text, re.IGNORECASE) is not None


def one(name: str, text: str, *, loosely: bool = False) -> str | None:
    """The text that a property of that name means. `loosely`: `name` is a description, of which single words count."""
    meant = set(words(name))
    if not loosely and (labelled := _labelled(name, text)) is not None:
        return labelled
    for keys, find in _FINDERS:
        if meant & keys and (found := find(text)):
            return found
    return text.strip() if not loosely and meant & WORDS.whole and text.strip() else None


def several(name: str, text: str) -> list[str]:
    """The texts of a list of that name: quoted ones, names of people or places, or what is listed."""
    meant = set(words(name))
    if found := quoted(text):
        return found
    if meant & (WORDS.people | WORDS.places | {"names"}):
        return _names(text)
    listed = max(_LISTED.findall(text), key=len, default="")
    return re.split(r",? (?:and|or) |, ", listed) if listed else []


def _labelled(name: str, text: str) -> str | None:
    """What follows the name and "is", ":" or "="."""
    label = r"[ _-]?".join(map(re.escape, words(name)))
    follows = r"(?: is| are| was|:| =|=) ?\"?([^\",;\n]+?)\"?(?=[,;\n]| and |\.(?:\s|$)|$)"
    found = re.search(rf"\b{label}\b{follows}", text, re.IGNORECASE)
    return found.group(1).strip() if label and found else None


def _first(pattern: re.Pattern[str], group: int = 0) -> Callable[[str], str | None]:
    return lambda text: found.group(group).strip() if (found := pattern.search(text)) else None


def _names(text: str) -> list[str]:
    """Names of people or things: capitalised words, but not those that follow "in" or that begin any sentence."""
    placed = {found.group(1) for found in re.finditer(rf"\b(?:in|from|near) ({_NAME})", text)}
    names = []
    for found in _NAMES.finditer(text):
        first, _, rest = found.group().partition(" ")
        whole = rest if first.lower() in _NO_NAMES else found.group()
        if whole and whole not in placed and whole.lower() not in _NO_NAMES:
            names.append(whole)
    return list(dict.fromkeys(names))


def _person(text: str) -> str | None:
    """The only name of the text, or the one that is called so."""
    called = re.search(rf"\b(?:named|called|name is|I am|I'm) ({_NAME})", text)
    names = [called.group(1)] if called else _names(text)
    return names[0] if len(names) == 1 else None


def _place(text: str) -> str | None:
    named = [name for name in _AFTER.findall(text) if name.lower() not in _NO_NAMES]
    if named:
        return str(named[0])
    lowered = text.lower()
    known = [name for name in (*almanac.CAPITAL, *almanac.COUNTRY) if re.search(rf"\b{re.escape(name)}\b", lowered)]
    if known:
        return max(known, key=len).title()
    return next((name for name in _LOWER_AFTER.findall(text) if name not in WORDS.opening), None)


def _title(text: str) -> str | None:
    return _person(text) or _first(_HAPPENING, 1)(text)


_FINDERS: tuple[tuple[frozenset[str], Callable[[str], str | None]], ...] = (
    (frozenset({"email", "mail"}), _first(_EMAIL)),
    (frozenset({"url", "uri", "link", "website"}), _first(_URL)),
    (frozenset({"phone", "telephone"}), _first(_PHONE)),
    (frozenset({"date", "day", "birthday", "deadline", "when"}), _first(_DATE)),
    (frozenset({"time", "hour"}), _first(_TIME)),
    (WORDS.places, _place),
    (frozenset({"expression", "formula", "equation", "calculation"}), _first(_FORMULA)),
    (WORDS.people, _person),
    (frozenset({"name", "title", "event", "subject"}), _title),
)
